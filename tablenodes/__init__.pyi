# Written by tests/stubs.py from the homes of the public names; do not edit.

from . import cluster as cluster
from . import errors as errors
from . import openapi as openapi
from . import testing as testing
from ._version import __version__ as __version__
from .connection import Connection as Connection
from .nodes.async_nodes import CreateChatCompletionAsync as CreateChatCompletionAsync
from .nodes.async_nodes import CreateCompletionAsync as CreateCompletionAsync
from .nodes.async_nodes import CreateResponseAsync as CreateResponseAsync
from .nodes.conversation_nodes import AddAssistantMessage as AddAssistantMessage
from .nodes.conversation_nodes import AddSystemMessage as AddSystemMessage
from .nodes.conversation_nodes import AddToolMessage as AddToolMessage
from .nodes.conversation_nodes import AddUserMessage as AddUserMessage
from .nodes.conversation_nodes import AppendReply as AppendReply
from .nodes.conversation_nodes import CreateConversation as CreateConversation
from .nodes.declarations import CreateChatCompletion as CreateChatCompletion
from .nodes.declarations import CreateCompletion as CreateCompletion
from .nodes.declarations import CreateEmbedding as CreateEmbedding
from .nodes.declarations import CreateModeration as CreateModeration
from .nodes.declarations import CreateResponse as CreateResponse
from .nodes.retrieval_node import RetrieveResponse as RetrieveResponse
from .nodes.table_node import Return as Return
from .problems import Problem as Problem
from .run.check import Check as Check
from .run.combinations import cross as cross
from .run.estimate import Estimate as Estimate
from .run.journal_table import read_journal as read_journal
from .run.last_output import last_output as last_output
from .run.output import NodeOutput as NodeOutput
from .run.output import Responses as Responses
from .run.transcripts import transcript as transcript
from .schemas import validate as validate
from .settings import Limits as Limits
from .settings import Retry as Retry
from .settings import Timeout as Timeout
from .tables import read_table as read_table
from .tables.table_output import write_table as write_table
from .templates import col as col
from .templates import literal as literal
from .workflow import Step as Step
from .workflow import Workflow as Workflow
from .workflow import WorkflowOutput as WorkflowOutput

__all__ = [
    "AddAssistantMessage",
    "AddSystemMessage",
    "AddToolMessage",
    "AddUserMessage",
    "AppendReply",
    "Check",
    "Connection",
    "CreateChatCompletion",
    "CreateChatCompletionAsync",
    "CreateCompletion",
    "CreateCompletionAsync",
    "CreateConversation",
    "CreateEmbedding",
    "CreateModeration",
    "CreateResponse",
    "CreateResponseAsync",
    "Estimate",
    "Limits",
    "NodeOutput",
    "Problem",
    "Responses",
    "RetrieveResponse",
    "Retry",
    "Return",
    "Step",
    "Timeout",
    "Workflow",
    "WorkflowOutput",
    "__version__",
    "cluster",
    "col",
    "cross",
    "errors",
    "last_output",
    "literal",
    "openapi",
    "read_journal",
    "read_table",
    "testing",
    "transcript",
    "validate",
    "write_table",
]
