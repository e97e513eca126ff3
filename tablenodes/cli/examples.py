"""Two examples of every command, as its help shows them."""

_ASK = "CreateChatCompletion reviews.csv --model gpt-4o-mini"
_SUM_UP = "\\\n    --prompt 'Sum up: {{ review }}'"
EXAMPLES = {
    "run": (
        "tablenodes run flow.yaml",
        "tablenodes run flow.yaml --table reviews.csv --rows 20 --max-cost 1 -o a.csv",
    ),
    "check": (
        "tablenodes check flow.yaml",
        "tablenodes check flow.yaml --table reviews.csv --rows 100:200 --estimate",
    ),
    "call": (
        f"tablenodes call {_ASK} {_SUM_UP} -o out.csv",
        f"tablenodes call {_ASK} \\\n    --prompt @prompt.txt --answer stars=int --where \"lang == 'de'\" --dry-run",
    ),
    "sample": (
        "tablenodes sample",
        "tablenodes sample review_sentiment --to trial",
    ),
    "submit": (
        f"tablenodes submit {_ASK} {_SUM_UP} -o ids.csv",
        f"tablenodes submit {_ASK} \\\n    --prompt @prompt.txt --submission monday --curl --rows 0:2",
    ),
    "retrieve": (
        "tablenodes retrieve ids.csv -o answers.csv",
        "tablenodes retrieve ids.csv --wait 0 --retry-failed transient",
    ),
    "store": (
        "tablenodes store",
        "tablenodes store --submission monday > ids.csv",
    ),
    "worker": (
        "tablenodes worker",
        "tablenodes worker --store ./answers.store",
    ),
    "connections": (
        "tablenodes connections",
        "tablenodes connections --check",
    ),
    "nodes": (
        "tablenodes nodes",
        "tablenodes nodes CreateChatCompletion",
    ),
    "schema": (
        "tablenodes schema create_chat_completion",
        "tablenodes schema create_chat_completion --property tools --json",
    ),
    "graph": (
        "tablenodes graph flow.yaml",
        "tablenodes graph flow.yaml > flow.mmd",
    ),
    "convert": (
        "tablenodes convert kestra.yaml",
        "tablenodes convert kestra.yaml -o converted.yaml",
    ),
    "journal": (
        "tablenodes journal out.csv.journal",
        "tablenodes journal out.csv.journal --jsonl | head -3",
    ),
    "completion": (
        'eval "$(tablenodes completion bash)"',
        "tablenodes completion fish > ~/.config/fish/completions/tablenodes.fish",
    ),
    "install": (
        "tablenodes model install",
        "TABLENODES_CACHE=/data tablenodes model install --embedding",
    ),
    "status": (
        "tablenodes model status",
        "TABLENODES_CACHE=/data tablenodes model status",
    ),
    "remove": (
        "tablenodes model remove",
        "TABLENODES_CACHE=/data tablenodes model remove",
    ),
}
