// Markdown as DOM nodes. What a model writes is never parsed as HTML: every text is a text node,
// and only http, https and mailto addresses become links.

const INLINE = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*([\s\S]+?)\*\*|__([\s\S]+?)__|\*([^\s*][^*]*?)\*|\[([^\]]+)\]\((\S+?)\)|(https?:\/\/[^\s<>()]+[^\s<>().,;:!?'"])/;
const SAFE_LINK = /^(https?:|mailto:)/i;
const ITEM = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;
const BEGINS_BLOCK = /^\s*(#{1,6}\s|>|```|~~~|[-*+]\s|\d+[.)]\s)/;

function element(name, ...children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}

function link(address, ...children) {
  if (!SAFE_LINK.test(address)) return element("span", ...children);
  const node = element("a", ...children);
  node.href = address;
  node.rel = "noopener noreferrer nofollow";
  node.target = "_blank";
  return node;
}

function inline(text) {
  const nodes = [];
  while (text) {
    const found = INLINE.exec(text);
    if (!found) break;
    if (found.index) nodes.push(text.slice(0, found.index));
    const [whole, ticks, code, strong, strongToo, emphasis, label, address, bare] = found;
    if (ticks) nodes.push(element("code", code.trim()));
    else if (strong || strongToo) nodes.push(element("strong", ...inline(strong || strongToo)));
    else if (emphasis) nodes.push(element("em", ...inline(emphasis)));
    else if (label) nodes.push(link(address, ...inline(label)));
    else nodes.push(link(bare, bare));
    text = text.slice(found.index + whole.length);
  }
  if (text) nodes.push(text);
  return nodes;
}

function row(name, line) {
  const cells = line.trim().replace(/^\||\|$/g, "").split("|");
  return element("tr", ...cells.map((cell) => element(name, ...inline(cell.trim()))));
}

function table(head, lines) {
  lines.shift();
  const rows = [];
  while (lines.length && lines[0].includes("|")) rows.push(row("td", lines.shift()));
  return element("table", element("thead", row("th", head)), element("tbody", ...rows));
}

function list(first, lines) {
  const isOrdered = /\d/.test(first[2]);
  const node = element(isOrdered ? "ol" : "ul");
  if (isOrdered) node.start = parseInt(first[2], 10);
  for (let item = first; item; ) {
    const inside = [item[3]];
    const indent = item[1].length + item[2].length;
    const belongs = () => lines[0].startsWith(" ".repeat(indent)) || (!lines[0].trim() && lines[1]?.startsWith(" "));
    while (lines.length && belongs()) inside.push(lines.shift().slice(indent).replace(/^ /, ""));
    const content = blocks(inside);
    node.append(element("li", ...(content.length === 1 ? content[0].childNodes : content)));
    while (lines.length > 1 && !lines[0].trim() && ITEM.test(lines[1])) lines.shift();
    item = lines.length ? ITEM.exec(lines[0]) : null;
    if (item) lines.shift();
  }
  return node;
}

function fenced(fence, lines) {
  const code = [];
  while (lines.length && !lines[0].trim().startsWith(fence)) code.push(lines.shift());
  lines.shift();
  return element("pre", element("code", code.join("\n")));
}

function quoted(line, lines) {
  const inside = [line];
  while (lines.length && /^\s*>/.test(lines[0])) inside.push(lines.shift());
  return element("blockquote", ...blocks(inside.map((one) => one.replace(/^\s*> ?/, ""))));
}

// Takes the lines of one block from the front, and returns its node.
function block(lines) {
  const line = lines.shift();
  const fence = /^\s*(`{3,}|~{3,})/.exec(line);
  if (fence) return fenced(fence[1], lines);
  const heading = /^(#{1,6})\s+(.*)$/.exec(line);
  if (heading) return element(`h${Math.min(6, heading[1].length + 1)}`, ...inline(heading[2]));
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) return element("hr");
  if (/^\s*>/.test(line)) return quoted(line, lines);
  const item = ITEM.exec(line);
  if (item) return list(item, lines);
  if (line.includes("|") && lines.length && /^[\s|:-]*-[\s|:-]*$/.test(lines[0])) return table(line, lines);
  const text = [line];
  while (lines.length && lines[0].trim() && !BEGINS_BLOCK.test(lines[0])) text.push(lines.shift());
  return element("p", ...inline(text.join("\n")));
}

function blocks(lines) {
  const nodes = [];
  while (lines.length) {
    if (lines[0].trim()) nodes.push(block(lines));
    else lines.shift();
  }
  return nodes;
}

export function render(target, text) {
  target.replaceChildren(...blocks(text.split("\n")));
}
