"""A function as the documents of an orchestrator write it, and as the API wants it."""

REPLY = {
    "name": "respond_to_review",
    "description": "Decides how to respond to a customer's review",
    "parameters": [
        {
            "name": "response_urgency",
            "description": "How fast",
            "type": "string",
            "enumValues": ["reply_now", "reply_later"],
            "required": True,
        },
        {"name": "response_text", "description": "What to say", "type": "string", "required": "true"},
        {"name": "stars", "description": "How many", "type": "integer", "required": "false"},
    ],
}
WRITTEN_OUT = {
    "name": "respond_to_review",
    "description": "Decides how to respond to a customer's review",
    "parameters": {
        "type": "object",
        "properties": {
            "response_urgency": {
                "type": "string",
                "description": "How fast",
                "enum": ["reply_now", "reply_later"],
            },
            "response_text": {"type": "string", "description": "What to say"},
            "stars": {"type": "integer", "description": "How many"},
        },
        "required": ["response_urgency", "response_text"],
    },
}
