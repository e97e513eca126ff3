"""The nodes: an operation, its path, its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..answers.embeddings import embedded
from ..answers.moderation import moderated
from ..bodies.request_form import CHAT, MODERATION, RESPONSE
from ..bodies.response_plan import ResponsePlan
from ..bodies.values import ArrayValue, TextValue
from .node import OWN, Declaration
from .reference import documented
from .request_node import RequestNode

if TYPE_CHECKING:
    import os

    from ..answers import AnswerMode
    from ..templates.template import Column, LiteralText

    Text = str | Column | LiteralText | None
    Number = float | str | Column | None
    Integer = int | str | Column | None
    Flag = bool | str | Column | None
    List = Sequence[Any] | str | Column | None
    Object = Mapping[str, Any] | str | Column | None


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelRequest(RequestNode):
    """What is asked of a model by a chat and by a response alike.

    Parameters
    ----------
    tool_choice : str or dict
        As the API wants it, or one function's name.
    tools : list of dict
        As the API wants them, or the short way: each with ``name``, ``description`` and a flat list of ``parameters``,
        each of these with ``name``, ``description``, ``type``, and perhaps ``enumValues`` (a list) and ``required``.
    answer : type, list or mapping
        What an answer is, which then comes as typed columns: a type, labels such as ``["positive", "negative"]``, or
        fields such as ``{"sentiment": ["good", "bad"], "stars": int, "topics": [str], "reason?": str}``; also a JSON
        Schema, a dataclass, a TypedDict, a pydantic model, or ``"@schema.json"``. An answer that is cut, refused or
        does not fit is ``unusable``.
    answer_mode : "json_schema", "json_object" or "tool"
        How the server is asked for it: by a strict schema, as any JSON object, or by one forced tool.
    image_root : path, optional
        Another folder, below which the files of `image` must lie.
    """

    metadata: Object = None
    moderation: Object = None
    parallel_tool_calls: Flag = None
    prompt_cache_key: Text = None
    prompt_cache_options: Object = None
    prompt_cache_retention: Text = None
    safety_identifier: Text = None
    service_tier: Text = None
    store: Flag = None
    stream: Flag = None
    stream_options: Object = None
    temperature: Number = None
    tool_choice: Object = None
    tools: List = None
    top_logprobs: Integer = None
    top_p: Number = None
    user: Text = None
    answer: Any = field(default=None, metadata=OWN)
    answer_mode: AnswerMode = field(default="json_schema", metadata=OWN)
    image_root: str | os.PathLike[str] | None = field(default=None, metadata=OWN)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateChatCompletion(ModelRequest):
    """Ask a chat model: POST /chat/completions.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    prompt : str
        Short for one user message.
    system : str
        Short for a system message before it.
    messages : list of dict
        The whole conversation so far; in place of `prompt` and `system`.
    image : path, URL, bytes, PIL image or list of them
        What the last message of the user shows, after its text; mostly ``tn.col("path")``. A file must lie below the
        folder of the table's file (the current folder for a table in memory) and be PNG, JPEG, GIF or WebP; it is read
        when its row is sent. URLs are left to the server. An empty cell is no image. With the API's ``detail``:
        ``{"url": tn.col("path"), "detail": "low"}``.
    conversation : str
        The id of a conversation, as `CreateConversation` and `AddUserMessage` give it; in place of `messages`.
    functions : list of dict
        As the API wants them, or the short way: each with ``name``, ``description`` and a flat list of ``parameters``,
        each of these with ``name``, ``description``, ``type``, and perhaps ``enumValues`` (a list) and ``required``.
    function_call : str or dict
        As the API wants them, or one function's name.
    model : str
        The model's name.
    """

    _declared = Declaration(operation="create_chat_completion", path="/chat/completions", shortcuts=True, form=CHAT)

    model: Text = None
    prompt: Text = None
    system: Text = None
    messages: List = None
    image: Any = None
    conversation: Text = None
    audio: Object = None
    frequency_penalty: Number = None
    function_call: Object = None
    functions: List = None
    logit_bias: Object = None
    logprobs: Flag = None
    max_completion_tokens: Integer = None
    max_tokens: Integer = None
    modalities: List = None
    n: Integer = None
    prediction: Object = None
    presence_penalty: Number = None
    reasoning_effort: Text = None
    response_format: Object = None
    seed: Integer = None
    stop: List = None
    verbosity: Text = None
    web_search_options: Object = None


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateCompletion(RequestNode):
    """Have a model go on with a text: POST /completions.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    model : str
        The model's name.
    prompt : str, list of str, list of int or list of list of int
        The text or texts to go on with, or their tokens. For null, which begins a new document:
        ``extra_body={"prompt": None}``, or for empty cells ``"{{ prompt | default(none) }}"``.
    """

    _declared = Declaration(operation="create_completion", path="/completions")

    model: Text = None
    prompt: List = None
    best_of: Integer = None
    echo: Flag = None
    frequency_penalty: Number = None
    logit_bias: Object = None
    logprobs: Integer = None
    max_tokens: Integer = None
    n: Integer = None
    presence_penalty: Number = None
    seed: Integer = None
    stop: List = None
    stream: Flag = None
    stream_options: Object = None
    suffix: Text = None
    temperature: Number = None
    top_p: Number = None
    user: Text = None

    def _choices(self, number: int, given: Mapping[str, Any]) -> int | None:
        prompt = given.get("prompt")
        if isinstance(prompt, list | ArrayValue):  # of texts, each of which has its own; or of one text's tokens
            return number * len(prompt if isinstance(prompt, list) else prompt.items)
        return number if isinstance(prompt, str | TextValue) else None


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateEmbedding(RequestNode):
    """Turn a text into a vector: POST /embeddings.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    input : str, list of str or list of int
        The text, or its tokens. Of a list of texts the row's vector is the first one's; its ``body`` has all.
    model : str
        The model's name.
    encoding_format : "base64" or "float"
        How the numbers travel: "base64" where nobody says it. An answer in either form is read.
    pack : int, optional
        Send up to so many rows in one request, 2,048 at the most. Each row has its own answer all the same.
    """

    _declared = Declaration(
        operation="create_embedding",
        path="/embeddings",
        choices=False,
        supplied={"encoding_format": "base64"},  # a third of the bytes that lists take
        packs=True,
        answers=embedded,
    )

    model: Text = None
    input: List = None
    dimensions: Integer = None
    encoding_format: Text = None
    user: Text = None
    pack: int | None = field(default=None, metadata=OWN)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateModeration(RequestNode):
    """Have a text or an image moderated: POST /moderations.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    The table has the columns ``flagged`` and ``flags``, the categories for which an input is flagged; ``.flags`` of the
    output has a column for each category, ``.scores`` their scores.

    Parameters
    ----------
    input : str, list of str or list of dict
        The text to judge, or several, which are judged as one: flagged if one of them is; or parts, as the API has
        them.
    image : path, URL, bytes, PIL image or list of them
        What is judged beside the text of `input`, or without any; as in `CreateChatCompletion`. Most models take one.
    image_root : path, optional
        Another folder, below which the files of `image` must lie.
    scores : bool
        Whether the table also has the column ``scores``: JSON, the score of each category.
    """

    _declared = Declaration(
        operation="create_moderation", path="/moderations", choices=False, form=MODERATION, answers=moderated
    )

    model: Text = None
    input: List = None
    image: Any = None
    scores: bool = field(default=False, metadata=OWN)
    image_root: str | os.PathLike[str] | None = field(default=None, metadata=OWN)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateResponse(ModelRequest):
    """Ask a model by the Responses API: POST /responses.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    prompt : str
        Short for `input`.
    system : str
        Short for `instructions`.
    prompt_ : dict
        The API's own ``prompt``: a template that the server keeps, by its id, with its variables.
    image : path, URL, bytes, PIL image or list of them
        What the last message of the user shows, after its text; as in `CreateChatCompletion`.
    image_root : path, optional
        Another folder, below which the files of `image` must lie.
    """

    _declared = Declaration(
        operation="create_response",
        path="/responses",
        names={"prompt_": "prompt"},
        form=RESPONSE,
        bodies=ResponsePlan,
    )

    model: Text = None
    prompt: Text = None
    system: Text = None
    image: Any = None
    input: List = None
    instructions: Text = None
    previous_response_id: Text = None
    conversation: Object = None
    prompt_: Object = None
    background: Flag = None
    context_management: List = None
    include: List = None
    max_output_tokens: Integer = None
    max_tool_calls: Integer = None
    reasoning: Object = None
    text: Object = None
    truncation: Text = None
