"""The profiles that are built in: where known servers are, and the variable that holds the key, by their own pages."""

from __future__ import annotations

from typing import Any

from .profile import Profile

LOOKED_UP = "2026-11-30"
_FURTHER = {"openrouter": "/key"}  # it lists its models to everybody: only this says whether a key is right

_ADDRESSES: dict[str, tuple[str, str, str]] = {
    "openai": (
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        "https://platform.openai.com/docs/api-reference/chat/create",
    ),
    "azure": (
        "${AZURE_OPENAI_ENDPOINT}/openai/v1",
        "AZURE_OPENAI_API_KEY",
        "https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle",
    ),
    "ollama": ("http://localhost:11434/v1", "", "https://docs.ollama.com/api/openai-compatibility"),
    "vllm": ("http://localhost:8000/v1", "", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"),
    "lmstudio": ("http://localhost:1234/v1", "", "https://lmstudio.ai/docs/developer/openai-compat"),
    "llamacpp": (
        "http://localhost:8080/v1",
        "",
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    "openrouter": (
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        "https://openrouter.ai/docs/quickstart",
    ),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY", "https://console.groq.com/docs/openai"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY", "https://docs.mistral.ai/getting-started/quickstart/"),
    "deepseek": ("https://api.deepseek.com", "DEEPSEEK_API_KEY", "https://api-docs.deepseek.com/"),
    "together": (
        "https://api.together.ai/v1",
        "TOGETHER_API_KEY",
        "https://docs.together.ai/docs/inference/openai-compatibility",
    ),
    "gemini": (
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        "https://ai.google.dev/gemini-api/docs/openai",
    ),
}
"""By name: the base URL, the variable that holds the key (none for servers on this machine), and the vendor's page."""


def built_in() -> dict[str, Profile]:
    """Return the profiles that are built in, by their names."""
    return {name: _profile(name, *row) for name, row in _ADDRESSES.items()}


def _profile(name: str, base_url: str, variable: str, page: str) -> Profile:
    settings: dict[str, Any] = {"base_url": base_url}
    settings |= {"api_key_env": variable} if variable else {}
    settings |= {"api_key_header": "api-key"} if name == "azure" else {}
    return Profile(name, f"built in, {LOOKED_UP}", settings, page=page, probe=_FURTHER.get(name, "/models"))
