"""Uses of the public names, right and wrong, as a type checker sees them; each wrong one names its error."""

from collections.abc import Iterator
from typing import Any, assert_type

import pandas as pd

import tablenodes as tn


class Table:
    """A table of another kind."""


reviews = pd.DataFrame({"review": ["fine"]})
node = tn.CreateChatCompletion(model="m", prompt="{{ review }}", temperature=0, stop=["\n"], columns=["seed"])

out = node.run(reviews, tn.Connection(), limits=tn.Limits(concurrency=8), on_invalid="raise", journal="j")
assert_type(out, tn.Responses[pd.DataFrame])
assert_type(out.table, pd.DataFrame)
assert_type(out.failed, pd.DataFrame)
assert_type(out.summary.ok, int)
result, configuration = out
assert_type(result, pd.DataFrame)
assert_type(iter(out), Iterator[pd.DataFrame])
assert_type(node.run(Table()).log, Table)
assert_type(node.replace(model="other"), tn.CreateChatCompletion)
assert_type(node.check(reviews), tn.Check)
assert_type(tn.CreateConversation(system="Be kind.").run(reviews), tn.NodeOutput[pd.DataFrame])
assert_type(tn.AddUserMessage(text="x").run(reviews, continue_from=out).succeeded, pd.DataFrame)
assert_type(tn.CreateChatCompletionAsync(model="m", prompt="x").run(reviews, deadline=60), tn.NodeOutput[pd.DataFrame])
assert_type(tn.RetrieveResponse().run("table", wait=0), tn.Responses[Any])
assert_type(tn.Workflow({"ask": node}).run(reviews)["ask"], tn.NodeOutput[Any])
assert_type(tn.validate({"model": "m"}), list[tn.Problem])

node.run(reviews, on_invalid="rais")  # E: arg-type
node.run(reviews, on_in_doubt="send")  # E: arg-type
node.run(reviews, retry_failed="never")  # E: arg-type
node.run(reviews, retries=3)  # E: call-arg
tn.CreateChatCompletion(modle="m")  # E: call-arg
tn.CreateChatCompletion("m")  # E: call-arg
tn.CreateChatCompletion(temperature=[])  # E: arg-type
chat = tn.CreateChatCompletions  # E: attr-defined
tn.Limits(concurrency="many")  # E: arg-type
