"""Several streams at once with asyncio, in this process or from a server.

    python examples/asyncio_streams.py [MODEL or URL]

AsyncLLM and AsyncTritonClient have the same methods. Leaving a stream early, or cancelling
the task that reads it, cancels the request.
"""

import asyncio
import sys

from llmasos import AsyncLLM, AsyncTritonClient

PROMPTS = ("The capital of France is", "Water boils at", "The sun rises in")


async def read(llm: AsyncLLM | AsyncTritonClient, prompt: str) -> str:
    async with llm.stream(prompt, max_tokens=24) as stream:
        return "".join([piece.text async for piece in stream])


async def main(where: str) -> None:
    llm = AsyncTritonClient(where) if "://" in where else await AsyncLLM.load(where)
    async with llm:
        answers = await asyncio.gather(*(read(llm, prompt) for prompt in PROMPTS))
        for prompt, answer in zip(PROMPTS, answers, strict=True):
            print(f"{prompt!r} -> {answer!r}")

        endless = asyncio.create_task(read(llm, "Count: 1, 2, 3,"))
        await asyncio.sleep(0)
        endless.cancel()
        await asyncio.gather(endless, return_exceptions=True)
        print(f"cancelled: {endless.cancelled()}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"))
