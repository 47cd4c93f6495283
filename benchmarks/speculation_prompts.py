"""Questions whose answers repeat their text, and such whose answers do not."""

from __future__ import annotations

HARBOUR = (
    "The harbour of the old town was built in the ninth century by merchants who came from the "
    "north. They traded in salt, furs and amber, and their houses stood on oak piles along the "
    "water. In 1421 a fire destroyed most of the quarter. It was rebuilt in brick within twelve "
    "years, and the market hall that was opened in 1433 still stands today."
)
BEES = (
    "A hive of honey bees may hold fifty thousand workers in summer. Each of them lives for about "
    "six weeks. The young ones clean the cells and feed the larvae; the old ones fly out and "
    "bring nectar, pollen and water. In winter the colony is smaller: the bees sit close "
    "together, eat what they have stored, and keep the queen warm."
)
CODE = """def mean(numbers):
    total = 0
    for number in numbers:
        total += number
    return total / len(numbers)


def variance(numbers):
    average = mean(numbers)
    total = 0
    for number in numbers:
        total += (number - average) ** 2
    return total / len(numbers)
"""
LETTER = (
    "Dear Mrs Miller, thank you for your order of 12 March. The two oak shelves will leave our "
    "workshop on Monday and should reach you by Thursday. Please let us know if nobody will be "
    "at home on that day. The invoice is enclosed. Yours sincerely, Thomas Baker"
)

REPEATING = (
    f"Repeat this text word for word:\n\n{HARBOUR}",
    f"Copy the following paragraph exactly, then stop:\n\n{BEES}",
    f"Rename `total` to `result` in this code and print all of it:\n\n```python\n{CODE}```",
    f"Add a docstring to each function and print the whole code:\n\n```python\n{CODE}```",
    f"Write this letter again with the name Baker in place of Miller:\n\n{LETTER}",
    f"Summarize this text with sentences from it:\n\n{BEES}",
)
OTHERS = (
    "Write a short poem about the sea.",
    "Explain why the sky is blue.",
    "Tell me a story about a robot who learns to paint.",
    "Give me advice for a job interview.",
    "Describe a busy market in the morning.",
    "How does a steam engine work?",
    "Write a letter to a friend about your holiday.",
    "What is the difference between weather and climate?",
)
