# Written by tests/stubs.py from declarations.py and the schemas; do not edit.
"""The nodes: an operation, its path, its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..answers.embeddings import embedded
from ..answers.moderation import moderated
from ..bodies.request_form import CHAT, MODERATION, RESPONSE
from ..bodies.response_plan import ResponsePlan
from .node import OWN, Declaration
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
class CreateChatCompletion(RequestNode):
    """Ask a chat model: POST /chat/completions.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    model : str, Column or text with placeholders, optional
        The model's name.
    prompt : str, Column or text with placeholders, optional
        Short for one user message.
    system : str, Column or text with placeholders, optional
        Short for a system message before it.
    messages : list, Column or text with placeholders, optional
        The whole conversation so far; in place of `prompt` and `system`.
    image : path, URL, bytes, PIL image or list of them
        What the last message of the user shows, after its text; mostly ``tn.col("path")``. A file must lie
        below the folder of the table's file (the current folder for a table in memory) and be PNG, JPEG, GIF or
        WebP; it is read when its row is sent. URLs are left to the server. An empty cell is no image. With the
        API's ``detail``: ``{"url": tn.col("path"), "detail": "low"}``.
    conversation : str, Column or text with placeholders, optional
        The id of a conversation, as `CreateConversation` and `AddUserMessage` give it; in place of `messages`.
    audio : dict, Column or text with placeholders, optional
        How spoken output sounds: the voice and the file format. Needed where `modalities` asks for audio.
    frequency_penalty : float, Column or text with placeholders, optional
        Above 0, words that already came up often become less likely; below 0, more likely.
    function_call : dict, Column or text with placeholders, optional
        As the API wants them, or one function's name.
    functions : list, Column or text with placeholders, optional
        As the API wants them, or the short way: each with ``name``, ``description`` and a flat list of
        ``parameters``, each of these with ``name``, ``description``, ``type``, and perhaps ``enumValues`` (a
        list) and ``required``.
    logit_bias : dict, Column or text with placeholders, optional
        Makes single tokens more or less likely: a token's id, as text, to a bias from -100 (never) to 100
        (always).
    logprobs : bool, Column or text with placeholders, optional
        Whether the answer carries the log probability of each of its tokens.
    max_completion_tokens : int, Column or text with placeholders, optional
        The most tokens that an answer may use, hidden reasoning included.
    max_tokens : int, Column or text with placeholders, optional
        Replaced by `max_completion_tokens`: the most tokens that an answer may have.
    modalities : list, Column or text with placeholders, optional
        What the answer is made of: text, audio, or both.
    n : int, Column or text with placeholders, optional
        How many answers to give for this one request; every one of them is paid for.
    prediction : dict, Column or text with placeholders, optional
        Text that most of the answer is expected to repeat, so that it comes faster.
    presence_penalty : float, Column or text with placeholders, optional
        Above 0, words that came up at all become less likely, so that new topics come sooner; below 0, more
        likely.
    reasoning_effort : str, Column or text with placeholders, optional
        How much a reasoning model thinks before it answers; less is faster and cheaper.
    response_format : dict, Column or text with placeholders, optional
        The form of the answer: plain text, any JSON object, or JSON that follows a schema.
    seed : int, Column or text with placeholders, optional
        The same seed and the same request give mostly the same answer.
    stop : list, Column or text with placeholders, optional
        Up to four texts at which the answer ends; they are not part of it.
    verbosity : str, Column or text with placeholders, optional
        How long and detailed the answer should be.
    web_search_options : dict, Column or text with placeholders, optional
        Lets the model search the web first: how much it reads, and from where it searches.
    metadata : dict, Column or text with placeholders, optional
        Labels that the server keeps with the request: short texts by name.
    moderation : dict, Column or text with placeholders, optional
        Has the request and the answer moderated on the way: with which model, and what happens then.
    parallel_tool_calls : bool, Column or text with placeholders, optional
        Whether one answer may call several tools at once.
    prompt_cache_key : str, Column or text with placeholders, optional
        Requests with the same key are likely to find one another's cached prompts.
    prompt_cache_options : dict, Column or text with placeholders, optional
        How the beginning of the prompt is cached: automatically or where marked, and for how long.
    prompt_cache_retention : str, Column or text with placeholders, optional
        Replaced by `prompt_cache_options`: how long the cached beginning of the prompt is kept.
    safety_identifier : str, Column or text with placeholders, optional
        A stable name for the end user, best hashed, by which misuse can be told apart.
    service_tier : str, Column or text with placeholders, optional
        The class of service that handles and bills the request.
    store : bool, Column or text with placeholders, optional
        Whether the server keeps the answer for its owner to look at later.
    stream : bool, Column or text with placeholders, optional
        Whether the answer is sent in pieces, as it comes into being.
    stream_options : dict, Column or text with placeholders, optional
        What a streamed answer carries besides its text, such as the token counts.
    temperature : float, Column or text with placeholders, optional
        How freely words are chosen: 0 for the likeliest ones, up to 2 for surprising ones.
    tool_choice : dict, Column or text with placeholders, optional
        As the API wants it, or one function's name.
    tools : list, Column or text with placeholders, optional
        As the API wants them, or the short way: each with ``name``, ``description`` and a flat list of
        ``parameters``, each of these with ``name``, ``description``, ``type``, and perhaps ``enumValues`` (a
        list) and ``required``.
    top_logprobs : int, Column or text with placeholders, optional
        How many of the likeliest tokens to list at each place; needs `logprobs`.
    top_p : float, Column or text with placeholders, optional
        Words are chosen from the likeliest ones that together have this probability; an alternative to
        `temperature`.
    user : str, Column or text with placeholders, optional
        Replaced by `safety_identifier` and `prompt_cache_key`: a stable name for the end user.
    answer : type, list or mapping
        What an answer is, which then comes as typed columns: a type, labels such as ``["positive",
        "negative"]``, or fields such as ``{"sentiment": ["good", "bad"], "stars": int, "topics": [str],
        "reason?": str}``; also a JSON Schema, a dataclass, a TypedDict, a pydantic model, or
        ``"@schema.json"``. An answer that is cut, refused or does not fit is ``unusable``.
    answer_mode : "json_schema", "json_object" or "tool"
        How the server is asked for it: by a strict schema, as any JSON object, or by one forced tool.
    image_root : path, optional
        Another folder, below which the files of `image` must lie.
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

@dataclass(frozen=True, kw_only=True, repr=False)
class CreateCompletion(RequestNode):
    """Have a model go on with a text: POST /completions.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    model : str, Column or text with placeholders, optional
        The model's name.
    prompt : list, Column or text with placeholders, optional
        The text or texts to go on with, or their tokens. For null, which begins a new document:
        ``extra_body={"prompt": None}``, or for empty cells ``"{{ prompt | default(none) }}"``.
    best_of : int, Column or text with placeholders, optional
        How many answers to write on the server, of which the `n` best come back; every one of them is paid for.
    echo : bool, Column or text with placeholders, optional
        Whether the answer begins with the prompt.
    frequency_penalty : float, Column or text with placeholders, optional
        Above 0, words that already came up often become less likely; below 0, more likely.
    logit_bias : dict, Column or text with placeholders, optional
        Makes single tokens more or less likely: a token's id, as text, to a bias from -100 (never) to 100
        (always).
    logprobs : int, Column or text with placeholders, optional
        How many of the likeliest tokens to list, with their log probabilities, at each place of the answer.
    max_tokens : int, Column or text with placeholders, optional
        The most tokens that an answer may have.
    n : int, Column or text with placeholders, optional
        How many answers to give for this one request; every one of them is paid for.
    presence_penalty : float, Column or text with placeholders, optional
        Above 0, words that came up at all become less likely, so that new topics come sooner; below 0, more
        likely.
    seed : int, Column or text with placeholders, optional
        The same seed and the same request give mostly the same answer.
    stop : list, Column or text with placeholders, optional
        Up to four texts at which the answer ends; they are not part of it.
    stream : bool, Column or text with placeholders, optional
        Whether the answer is sent in pieces, as it comes into being.
    stream_options : dict, Column or text with placeholders, optional
        What a streamed answer carries besides its text, such as the token counts.
    suffix : str, Column or text with placeholders, optional
        Text that is to follow the answer, for filling a gap.
    temperature : float, Column or text with placeholders, optional
        How freely words are chosen: 0 for the likeliest ones, up to 2 for surprising ones.
    top_p : float, Column or text with placeholders, optional
        Words are chosen from the likeliest ones that together have this probability; an alternative to
        `temperature`.
    user : str, Column or text with placeholders, optional
        A stable name for the end user.
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

@dataclass(frozen=True, kw_only=True, repr=False)
class CreateEmbedding(RequestNode):
    """Turn a text into a vector: POST /embeddings.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    model : str, Column or text with placeholders, optional
        The model's name.
    input : list, Column or text with placeholders, optional
        The text, or its tokens. Of a list of texts the row's vector is the first one's; its ``body`` has all.
    dimensions : int, Column or text with placeholders, optional
        How many numbers the embedding has; only newer models can shorten it.
    encoding_format : str, Column or text with placeholders, optional
        How the numbers travel: "base64" where nobody says it. An answer in either form is read.
    user : str, Column or text with placeholders, optional
        A stable name for the end user.
    pack : int, optional
        Send up to so many rows in one request, 2,048 at the most. Each row has its own answer all the same.
    """

    _declared = Declaration(
        operation="create_embedding",
        path="/embeddings",
        choices=False,
        supplied={"encoding_format": "base64"},
        packs=True,
        answers=embedded,
    )
    model: Text = None
    input: List = None
    dimensions: Integer = None
    encoding_format: Text = None
    user: Text = None
    pack: int | None = field(default=None, metadata=OWN)

@dataclass(frozen=True, kw_only=True, repr=False)
class CreateModeration(RequestNode):
    """Have a text or an image moderated: POST /moderations.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    The table has the columns ``flagged`` and ``flags``, the categories for which an input is flagged; ``.flags`` of the
    output has a column for each category, ``.scores`` their scores.

    Parameters
    ----------
    model : str, Column or text with placeholders, optional
        Which model judges. Any name that the server knows.
    input : list, Column or text with placeholders, optional
        The text to judge, or several, which are judged as one: flagged if one of them is; or parts, as the API
        has them.
    image : path, URL, bytes, PIL image or list of them
        What is judged beside the text of `input`, or without any; as in `CreateChatCompletion`. Most models
        take one.
    scores : bool
        Whether the table also has the column ``scores``: JSON, the score of each category.
    image_root : path, optional
        Another folder, below which the files of `image` must lie.
    """

    _declared = Declaration(
        operation="create_moderation", path="/moderations", choices=False, form=MODERATION, answers=moderated
    )
    model: Text = None
    input: List = None
    image: Any = None
    scores: bool = field(default=False, metadata=OWN)
    image_root: str | os.PathLike[str] | None = field(default=None, metadata=OWN)

@dataclass(frozen=True, kw_only=True, repr=False)
class CreateResponse(RequestNode):
    """Ask a model by the Responses API: POST /responses.

    Every setting may be a constant, a text with ``{{ column }}`` placeholders, or ``tn.col("name")``. A setting that is
    left out is taken from the table's column of the same name, if there is one, or is left to the server.

    Parameters
    ----------
    model : str, Column or text with placeholders, optional
        The model's name.
    prompt : str, Column or text with placeholders, optional
        Short for `input`.
    system : str, Column or text with placeholders, optional
        Short for `instructions`.
    image : path, URL, bytes, PIL image or list of them
        What the last message of the user shows, after its text; as in `CreateChatCompletion`.
    input : list, Column or text with placeholders, optional
        What the model is to answer: a text, or a list of messages and other items.
    instructions : str, Column or text with placeholders, optional
        What the model is told before the input, as a system message.
    previous_response_id : str, Column or text with placeholders, optional
        The answer that this goes on from, by its id; it must have been stored (`store`).
    conversation : dict, Column or text with placeholders, optional
        A conversation that the server keeps, by its id: its items come before the input, and the answer is
        added to it.
    prompt_ : dict, Column or text with placeholders, optional
        The API's own ``prompt``: a template that the server keeps, by its id, with its variables.
    background : bool, Column or text with placeholders, optional
        Answering later, with the answer to be fetched by its id: not supported, must be false.
    context_management : list, Column or text with placeholders, optional
        When the server sums up what has become too long.
    include : list, Column or text with placeholders, optional
        What else the answer is to hold, such as `reasoning.encrypted_content`.
    max_output_tokens : int, Column or text with placeholders, optional
        How many tokens the answer may have at the most, those of its reasoning included.
    max_tool_calls : int, Column or text with placeholders, optional
        How many calls of the server's own tools there may be at the most.
    reasoning : dict, Column or text with placeholders, optional
        How much a reasoning model thinks first (`effort`), and whether it sums that up (`summary`).
    text : dict, Column or text with placeholders, optional
        The form of the answer (`format`: text, JSON, or a JSON Schema), and how long-winded it is
        (`verbosity`).
    truncation : str, Column or text with placeholders, optional
        What happens with an input that is too long: `auto` leaves out its oldest items, `disabled` refuses it.
    metadata : dict, Column or text with placeholders, optional
        Up to 16 texts of your own, by their names, kept with the answer.
    moderation : dict, Column or text with placeholders, optional
        Have input and answer moderated too.
    parallel_tool_calls : bool, Column or text with placeholders, optional
        Whether the model may call several tools at once.
    prompt_cache_key : str, Column or text with placeholders, optional
        What tells prompts apart that begin alike, so that more of them is found in the cache.
    prompt_cache_options : dict, Column or text with placeholders, optional
        How the beginnings of prompts are kept in the cache.
    prompt_cache_retention : str, Column or text with placeholders, optional
        How long the beginnings of prompts are kept in the cache.
    safety_identifier : str, Column or text with placeholders, optional
        A name for your user that says nothing about them, by which misuse is seen.
    service_tier : str, Column or text with placeholders, optional
        How the request is served, and at which price.
    store : bool, Column or text with placeholders, optional
        Whether the server keeps the answer, so that another one may go on from it. False here unless it is set.
    stream : bool, Column or text with placeholders, optional
        Whether the answer comes piece by piece.
    stream_options : dict, Column or text with placeholders, optional
        How it comes piece by piece.
    temperature : float, Column or text with placeholders, optional
        How freely words are chosen; 0 is the most likely ones.
    tool_choice : dict, Column or text with placeholders, optional
        As the API wants it, or one function's name.
    tools : list, Column or text with placeholders, optional
        As the API wants them, or the short way: each with ``name``, ``description`` and a flat list of
        ``parameters``, each of these with ``name``, ``description``, ``type``, and perhaps ``enumValues`` (a
        list) and ``required``.
    top_logprobs : int, Column or text with placeholders, optional
        How many likely tokens to return at each place, with their probabilities.
    top_p : float, Column or text with placeholders, optional
        Choose among the likeliest words only that have this much probability together.
    user : str, Column or text with placeholders, optional
        A name for your user; of old, for `safety_identifier` and `prompt_cache_key`.
    answer : type, list or mapping
        What an answer is, which then comes as typed columns: a type, labels such as ``["positive",
        "negative"]``, or fields such as ``{"sentiment": ["good", "bad"], "stars": int, "topics": [str],
        "reason?": str}``; also a JSON Schema, a dataclass, a TypedDict, a pydantic model, or
        ``"@schema.json"``. An answer that is cut, refused or does not fit is ``unusable``.
    answer_mode : "json_schema", "json_object" or "tool"
        How the server is asked for it: by a strict schema, as any JSON object, or by one forced tool.
    image_root : path, optional
        Another folder, below which the files of `image` must lie.
    """

    _declared = Declaration(
        operation="create_response", path="/responses", names={"prompt_": "prompt"}, form=RESPONSE, bodies=ResponsePlan
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
