import { render } from "./markdown.js";

const $ = (id) => document.getElementById(id);
const conversation = $("conversation");
const FIELDS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];
let model = "";
let messages = [];
let running = null;

function headers() {
  const key = $("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function findModel() {
  try {
    const response = await fetch("/v1/models", { headers: headers() });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    model = answer.data[0].id;
    $("model").textContent = model;
  } catch (error) {
    $("model").textContent = error.message;
  }
}

function part(name, kind, text = "") {
  const node = document.createElement(name);
  node.className = kind;
  node.textContent = text;
  return node;
}

function welcome() {
  conversation.replaceChildren(part("p", "welcome", "Your model, on your machine."));
}

function addTurn(role) {
  conversation.querySelector(".welcome")?.remove();
  const turn = part("section", `turn ${role}`);
  const [thought, text, facts] = ["thought", "text", "facts"].map((kind) => part("div", kind));
  thought.hidden = true;
  turn.append(thought, text, facts);
  conversation.append(turn);
  return { turn, thought, text, facts };
}

function body() {
  const system = $("system").value.trim();
  const request = {
    model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages],
    stream: true,
    stream_options: { include_usage: true },
  };
  for (const name of FIELDS) if ($(name).value !== "") request[name] = Number($(name).value);
  return JSON.stringify(request);
}

async function* chunks(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (event === "data: [DONE]") return;
      if (event.startsWith("data: ")) yield JSON.parse(event.slice(6));
    }
  }
}

function isAtEnd() {
  return conversation.scrollHeight - conversation.scrollTop - conversation.clientHeight < 80;
}

class Answer {
  constructor() {
    Object.assign(this, addTurn("assistant"));
    this.content = "";
    this.usage = null;
    this.reason = "";
    this.started = performance.now();
    this.first = 0;
    this.frame = 0;
    this.text.classList.add("waiting");
  }

  take(chunk) {
    if (chunk.error) throw new Error(chunk.error.message);
    this.usage = chunk.usage ?? this.usage;
    const choice = chunk.choices[0];
    if (!choice) return;
    this.reason = choice.finish_reason ?? this.reason;
    const { content, reasoning_content: thought } = choice.delta;
    if (content || thought) this.first ||= performance.now();
    if (thought) {
      this.thought.hidden = false;
      this.thought.textContent += thought;
    }
    if (content) {
      this.content += content;
      this.text.classList.remove("waiting");
      this.frame ||= requestAnimationFrame(() => this.draw());
    }
  }

  draw() {
    this.frame = 0;
    const follows = isAtEnd();
    render(this.text, this.content);
    if (follows) conversation.scrollTop = conversation.scrollHeight;
  }

  fail(error) {
    if (error.name === "AbortError") this.reason = "stopped";
    else this.facts.append(part("span", "error", error.message));
  }

  finish() {
    cancelAnimationFrame(this.frame);
    this.text.classList.remove("waiting");
    this.tell();
    this.offerAgain();
    this.draw();
  }

  tell() {
    const facts = [];
    if (this.first) facts.push(`first token ${Math.round(this.first - this.started)} ms`);
    if (this.usage && this.first) {
      const seconds = (performance.now() - this.first) / 1000;
      const speed = (this.usage.completion_tokens - 1) / Math.max(seconds, 1e-3);
      facts.push(`${this.usage.completion_tokens} tokens`, `${speed.toFixed(0)} tokens/s`);
    }
    if (this.reason === "length") facts.push("cut at the limit of tokens");
    if (this.reason === "stopped") facts.push("stopped");
    this.facts.append(...facts.map((fact) => part("span", "fact", fact)));
  }

  offerAgain() {
    conversation.querySelectorAll(".facts button").forEach((button) => button.remove());
    const button = part("button", "again", "Regenerate");
    button.type = "button";
    button.addEventListener("click", () => {
      if (running) return;
      if (messages.at(-1)?.role === "assistant") messages.pop();
      this.turn.remove();
      answer();
    });
    this.facts.append(button);
  }
}

async function answer() {
  const one = new Answer();
  const stop = new AbortController();
  const asked = messages;
  setRunning(stop);
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST", headers: headers(), body: body(), signal: stop.signal,
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    for await (const chunk of chunks(response)) one.take(chunk);
  } catch (error) {
    one.fail(error);
  }
  setRunning(null);
  if (one.content && asked === messages) messages.push({ role: "assistant", content: one.content });
  one.finish();
}

function setRunning(controller) {
  running = controller;
  $("send").hidden = controller !== null;
  $("stop").hidden = controller === null;
}

function ask(event) {
  event?.preventDefault();
  const prompt = $("prompt").value.trim();
  if (!prompt || running) return;
  $("prompt").value = "";
  fit();
  messages.push({ role: "user", content: prompt });
  addTurn("user").text.textContent = prompt;
  conversation.scrollTop = conversation.scrollHeight;
  answer();
}

function fit() {
  const prompt = $("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

$("ask").addEventListener("submit", ask);
$("prompt").addEventListener("input", fit);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
$("stop").addEventListener("click", () => running?.abort());
$("key").addEventListener("change", findModel);
$("new").addEventListener("click", () => {
  running?.abort();
  messages = [];
  welcome();
  $("prompt").focus();
});
$("settings-toggle").addEventListener("click", () => {
  const isHidden = $("settings").toggleAttribute("hidden");
  $("settings-toggle").setAttribute("aria-expanded", String(!isHidden));
});
$("settings").addEventListener("submit", (event) => event.preventDefault());
welcome();
findModel();
