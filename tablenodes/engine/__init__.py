"""The engine: sends calls, waits for answers, decides what is next. It takes plain values and knows no table."""
