"""Ask a running server over HTTP with nothing but the standard library.

    llmasos serve smollm2-135m-instruct
    python examples/http_client.py [URL]

URL: http://localhost:8000 unless it is given. `generate_stream` answers with server-sent
events; each has one JSON object with the outputs of the model `ensemble` (docs/contract.md).
"""

import json
import sys
import urllib.request

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000"
fields = {"text_input": "The capital of France is", "max_tokens": 16, "stream": True}

request = urllib.request.Request(
    f"{url}/v2/models/ensemble/generate_stream",
    data=json.dumps(fields).encode(),
    headers={"Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=60) as response:
    for line in response:
        if line.startswith(b"data:"):
            outputs = json.loads(line.removeprefix(b"data:"))
            if "error" in outputs:
                sys.exit(outputs["error"])
            print(outputs["text_output"], end="", flush=True)
print(f"\n({outputs['finish_reason']}, {outputs['num_output_tokens']} new tokens)")
