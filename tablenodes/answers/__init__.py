"""Answers: what `answer=` says an answer is, how it is asked for, and whether one text is such an answer.

Pure functions of plain values. In the order in which a run needs them:

- `read_answer` and `read_answer_texts` read ``answer=`` of Python and YAML, and the texts of ``--answer``: an
  `AnswerSchema` is the strict JSON Schema to send, and the fields with their types;
- `lint` returns what providers' strict modes forbid in it, before anything is sent;
- `request_part` returns the properties of a request that ask for it; `check_settings` refuses what contradicts them;
- `AnswerJudge` judges texts of a model: the value, or why it is none;
- `usage_columns` and `costs` return what answers used and cost, by the rate cards that `Pricing` finds;
- `foreign_setting` answers other tools' settings with the ``answer=`` to write.
"""

from .answer_grammar import read_answer
from .answer_judge import AnswerJudge, Verdict
from .answer_request import ANSWER_MODES, FORMAT, TEXT, AnswerMode, check_settings, request_part
from .answer_schema import AnswerSchema, Field, FieldType
from .answer_texts import read_answer_texts
from .choices import call_table, choice_table
from .embeddings import Embeddings
from .foreign_settings import foreign_setting
from .price_list import Pricing, listed_prices
from .rate_card import COUNTS, RateCard
from .row_answers import BESIDE, TEXTS, Read, RowAnswers, Usable, behind_ids
from .strict_form import ANSWER
from .strict_rules import Provider, StrictProblem, lint, provider_of
from .token_guess import (
    Prompt,
    Spread,
    answer_guess,
    answer_limit,
    answers_asked,
    image_urls,
    limit_names,
    prompt_bound,
    prompt_guesses,
    prompt_of,
)
from .usage import USAGE_TYPES, costs, said_of, usage_columns

__all__ = [
    "ANSWER",
    "ANSWER_MODES",
    "BESIDE",
    "COUNTS",
    "FORMAT",
    "TEXT",
    "TEXTS",
    "USAGE_TYPES",
    "AnswerJudge",
    "AnswerMode",
    "AnswerSchema",
    "Embeddings",
    "Field",
    "FieldType",
    "Pricing",
    "Prompt",
    "Provider",
    "RateCard",
    "Read",
    "RowAnswers",
    "Spread",
    "StrictProblem",
    "Usable",
    "Verdict",
    "answer_guess",
    "answer_limit",
    "answers_asked",
    "behind_ids",
    "call_table",
    "check_settings",
    "choice_table",
    "costs",
    "foreign_setting",
    "image_urls",
    "limit_names",
    "lint",
    "listed_prices",
    "prompt_bound",
    "prompt_guesses",
    "prompt_of",
    "provider_of",
    "read_answer",
    "read_answer_texts",
    "request_part",
    "said_of",
    "usage_columns",
]
