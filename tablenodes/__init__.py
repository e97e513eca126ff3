"""Every row of a table is a request to a language-model API."""
