"""The HTTP gateway in front of a Triton server: OpenAI's API, and a page to chat."""
