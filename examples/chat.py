"""Hold a conversation with a model in this process.

    python examples/chat.py [MODEL]

Each line of the standard input is a question. The earlier turns are part of every prompt;
prefix caching finds their keys and values again, so that only the new turn is computed.
"""

import sys

from llmasos import LLM

model = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
messages = [{"role": "system", "content": "You answer in one sentence."}]

with LLM(model) as llm:
    for line in sys.stdin:
        messages.append({"role": "user", "content": line.strip()})
        answer = ""
        for piece in llm.stream_chat(messages, max_tokens=64):
            print(piece.text, end="", flush=True)
            answer += piece.text
            if piece.usage is not None:
                reused, whole = piece.usage.num_cached_tokens, piece.usage.num_prompt_tokens
                print(f"\n({reused} of {whole} prompt tokens were in the cache)")
        messages.append({"role": "assistant", "content": answer})
