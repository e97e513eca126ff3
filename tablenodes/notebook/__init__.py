"""What a notebook shows: values as HTML, and a mistake as one line; nothing here knows what the values come from."""
