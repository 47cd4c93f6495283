"""Ask a running server over gRPC: one answer, a stream that is left early, and an error.

    llmasos serve smollm2-135m-instruct
    python examples/grpc_client.py [URL]

URL: grpc://localhost:8001 unless it is given; http://localhost:8000 works the same way.
"""

import sys

from llmasos import LLMasOSError, TritonClient

url = sys.argv[1] if len(sys.argv) > 1 else "grpc://localhost:8001"

with TritonClient(url, timeout_s=60) as client:
    print(client.generate_text("The capital of France is", max_tokens=16))

    with client.stream("Once upon a time", max_tokens=200) as stream:
        for number, piece in enumerate(stream):
            print(piece.text, end="", flush=True)
            if number == 15:
                break  # which cancels the request on the server
    print()

    try:
        client.generate_text("a word " * 100_000, max_tokens=1)
    except LLMasOSError as error:
        print(f"refused: {error.code}, retry makes sense: {error.retryable}")
