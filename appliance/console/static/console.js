// What makes the console live. Without it every page can be read, and every form sent.
"use strict";
const body = document.body;
const all = (query, root = document) => [...root.querySelectorAll(query)];

// Changes what is shown into what shall be shown, and keeps what is the same: focus and selection stay where they are.
function morph(old, fresh) {
  const before = [...old.childNodes], after = [...fresh.childNodes];
  after.forEach((node, at) => {
    const was = before[at];
    if (!was) old.append(node);
    else if (was.nodeType !== node.nodeType || was.nodeName !== node.nodeName) was.replaceWith(node);
    else if (was.nodeType === Node.ELEMENT_NODE) {
      for (const { name } of [...was.attributes]) if (!node.hasAttribute(name)) was.removeAttribute(name);
      for (const { name, value } of node.attributes) if (was.getAttribute(name) !== value) was.setAttribute(name, value);
      morph(was, node);
    } else if (was.nodeValue !== node.nodeValue) was.nodeValue = node.nodeValue;
  });
  before.slice(after.length).forEach((node) => node.remove());
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

// The feed: parts of the page as they change.
function follow(address, take, beat) {
  const feed = new EventSource(address);
  feed.onopen = () => { if (beat) { beat.hidden = false; beat.textContent = "live"; beat.classList.remove("off"); } };
  feed.onmessage = (event) => take(JSON.parse(event.data));
  feed.onerror = () => {
    if (beat) { beat.hidden = false; beat.textContent = "connecting again"; beat.classList.add("off"); }
    if (feed.readyState === EventSource.CLOSED) setTimeout(async () => {
      const page = await fetch(location.href, { redirect: "manual" }).catch(() => null);
      if (page?.type === "opaqueredirect") location.reload();  // logged out, or the server has started anew
      else follow(address, take, beat);
    }, 3000);
  };
  return feed;
}

if (body.dataset.feed && window.EventSource) {
  follow(body.dataset.feed, ({ part, html }) => {
    const place = document.querySelector(`[data-live="${CSS.escape(part)}"]`);
    if (!place) return;
    morph(place, parsed(html));
    place.dispatchEvent(new Event("fresh", { bubbles: true }));
  }, document.querySelector("[data-beat]"));
}

// How much needs attention can be read on a tab that nobody looks at, and the open page in a list that is too long.
const title = document.title;
function tell() {
  const count = Number(document.querySelector("[data-count]")?.dataset.count);
  document.title = count ? `(${count}) ${title}` : title;
}
tell();
document.addEventListener("fresh", tell);
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// Colours without a new page.
for (const button of all(".themes button")) button.addEventListener("click", (event) => {
  event.preventDefault();
  const theme = button.value, secure = location.protocol === "https:" ? "; Secure" : "";
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  document.cookie = `appliance-theme=${theme}; Path=/; SameSite=Strict; Max-Age=${theme ? 31536000 : 0}${secure}`;
  for (const one of all(".themes button")) one.setAttribute("aria-pressed", String(one === button));
});

// A link that logs in once has its code behind the "#", where no log and no proxy sees it.
const login = document.querySelector("[data-login]");
if (login && location.hash.length > 20) {
  login.elements.key.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  login.requestSubmit();
}

// Rows that have a text somewhere.
const filter = document.querySelector("[data-filter]");
function sift() {
  const wanted = filter.value.trim().toLowerCase();
  for (const row of all("[data-row]")) row.hidden = Boolean(wanted) && !row.textContent.toLowerCase().includes(wanted);
}
if (filter) {
  filter.addEventListener("input", sift);
  filter.form.addEventListener("submit", (event) => { event.preventDefault(); sift(); });
  document.addEventListener("fresh", sift);
}

// Logs as they come: the last lines only, and at the end of them unless somebody has scrolled up.
const log = document.querySelector("[data-log]");
if (log && window.EventSource) {
  const pause = document.querySelector("[data-pause]"), told = document.querySelector("[data-told]"), most = 2000;
  const waiting = log.textContent.split("\n").slice(0, -1), words = document.querySelector("[data-sift]");
  let paused = false;
  const wanted = (row) => { row.hidden = !row.textContent.toLowerCase().includes(words.value.trim().toLowerCase()); };
  const show = () => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(...waiting.splice(0).map((line) => {
      const row = document.createElement("span"), level = line.slice(0, 40).toLowerCase();
      row.className = /error|critical|fatal/.test(level) ? "line bad" : level.includes("warn") ? "line busy" : "line";
      row.textContent = `${line}\n`;
      wanted(row);
      return row;
    }));
    while (log.childElementCount > most) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  log.textContent = "";
  show();
  log.scrollTop = log.scrollHeight;
  words.hidden = false;
  words.addEventListener("input", () => { all(".line", log).forEach(wanted); log.scrollTop = log.scrollHeight; });
  words.form.addEventListener("submit", (event) => { if (document.activeElement === words) event.preventDefault(); });
  pause.hidden = false;
  document.querySelector("[data-plain]").hidden = true;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) show();
  });
  const feed = follow(log.dataset.log, ({ lines, missed, fresh }) => {
    if (fresh) waiting.push("——— another process ———");
    if (missed) waiting.push("——— lines are left out here ———");
    waiting.push(...lines);
    if (waiting.length > most) waiting.splice(0, waiting.length - most);
    if (!paused) show();
  }, document.querySelector("[data-beat]"));
  feed.addEventListener("end", (event) => { feed.close(); told.textContent = JSON.parse(event.data).message; });
  document.querySelector("[data-go]").addEventListener("change", (event) => event.target.form.requestSubmit());
}

// Copies the text of an element; what to say about it.
async function copied(place) {
  try {
    await navigator.clipboard.writeText(place.textContent);
    return "Copied";
  } catch {  // without TLS browsers give no clipboard, but the old way may work
    getSelection().selectAllChildren(place);
    return document.execCommand("copy") ? "Copied" : "Selected: copy it with the keyboard";
  }
}
for (const place of all(".grab")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => { button.textContent = await copied(place.querySelector("pre")); });
  place.append(button);
}

// The playground: a conversation, how quick it is, and the same request for elsewhere.
const play = document.querySelector("[data-ask]");
if (play) {
  const field = (name) => play.elements[name].value, one = (name) => document.querySelector(`[data-${name}]`);
  const said = one("said"), facts = one("facts"), raw = one("raw"), stop = one("stop"), send = play.querySelector(".main");
  let turns = [], ending = null, clock = 0;
  const request = (stream) => ({
    model: field("model"),
    messages: [...(field("system") ? [{ role: "system", content: field("system") }] : []), ...turns,
      { role: "user", content: field("prompt") }],
    max_tokens: Number(field("tokens")) || 512, temperature: Number(field("heat")),
    ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
  });
  const codes = {
    curl: () => `curl ${location.origin}/v1/chat/completions \\\n  -H "Authorization: Bearer $APPLIANCE_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(request(), null, 2).replaceAll("'", "'\\''")}'`,
    python: () => `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${location.origin}/v1", api_key=os.environ["APPLIANCE_KEY"])\nstream = client.chat.completions.create(\n    model=${JSON.stringify(field("model"))},\n    messages=${JSON.stringify(request().messages)},\n    max_tokens=${request().max_tokens},\n    temperature=${request().temperature},\n    stream=True,\n)\nfor chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\nprint()`,
  };
  const describe = () => { for (const code of all("[data-code]")) code.textContent = codes[code.dataset.code](); };
  const turn = (who, text) => {
    const place = document.createElement("div"), name = document.createElement("b");
    place.className = `turn ${who}`;
    name.textContent = who === "user" ? "You" : field("model");
    place.append(name, text);
    said.append(place);
    return place;
  };
  const shown = (took, first, tokens) => {
    facts.replaceChildren();
    const rate = first && took > first ? (tokens - 1) / ((took - first) / 1000) : 0;
    for (const [word, value] of [["First token", first ? `${Math.round(first)} ms` : "–"], ["Tokens", tokens],
      ["Tokens a second", rate > 0 ? rate.toFixed(1) : "–"], ["In all", `${(took / 1000).toFixed(2)} s`]]) {
      const place = document.createElement("span"), strong = document.createElement("strong");
      strong.textContent = value;
      place.append(`${word} `, strong);
      facts.append(place);
    }
  };
  async function ask() {
    const body = request(true), text = JSON.stringify(body), place = (turn("user", field("prompt")), turn("assistant", ""));
    const began = performance.now(), answer = document.createTextNode(""), thought = document.createElement("span");
    let first = 0, tokens = 0, came = "", problem = "";
    thought.className = "thought";
    place.append(thought, answer);
    raw.textContent = `${JSON.stringify(body, null, 2)}\n\n`;
    ending = new AbortController();
    clearInterval(clock);
    clock = setInterval(() => shown(performance.now() - began, first, tokens), 500);  // that it waits must be seen
    const reply = await fetch("/console/playground/chat", {
      method: "POST", body: text, signal: ending.signal,
      headers: { "content-type": "application/json", "x-console-token": body_token },
    });
    raw.textContent += `HTTP ${reply.status}\n${[...reply.headers].map((pair) => pair.join(": ")).join("\n")}\n\n`;
    const take = (line) => {
      if (raw.textContent.length < 200000) raw.textContent += `${line}\n`;
      if (!line.startsWith("data: ") || line === "data: [DONE]") return;
      const event = JSON.parse(line.slice(6)), delta = event.choices?.[0]?.delta ?? {};
      if (event.error) problem = event.error.message;
      const more = delta.content || "", thinks = delta.reasoning_content || delta.reasoning || "";
      if (more || thinks) { first ||= performance.now() - began; tokens += 1; }
      thought.textContent += thinks;
      answer.data += more;
      if (event.usage?.completion_tokens) tokens = event.usage.completion_tokens;
    };
    const decoder = new TextDecoder();
    for (const reader = reply.body.getReader(); ;) {
      const { done, value } = await reader.read();
      came += done ? "\n" : decoder.decode(value, { stream: true });
      const lines = came.split("\n");
      came = lines.pop();
      if (reply.ok) lines.forEach(take); else raw.textContent += lines.join("\n");
      shown(performance.now() - began, first, tokens);
      if (done) break;
    }
    if (!reply.ok) problem = JSON.parse(raw.textContent.slice(raw.textContent.lastIndexOf("\n\n"))).error?.message;
    if (problem) throw new Error(problem);
    turns.push({ role: "user", content: body.messages.at(-1).content }, { role: "assistant", content: answer.data });
    play.elements.prompt.value = "";
  }
  const body_token = body.dataset.token;
  play.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    stop.disabled = false;
    try {
      await ask();
    } catch (error) {
      const note = document.createElement("p");
      note.className = "notice bad";
      note.textContent = error.name === "AbortError" ? "Stopped." : error.message;
      said.append(note);
    } finally {
      clearInterval(clock);
      send.disabled = false;
      stop.disabled = true;
      describe();
    }
  });
  play.elements.prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); if (!send.disabled) play.requestSubmit(send); }
  });
  stop.addEventListener("click", () => ending?.abort());
  one("clear").addEventListener("click", () => { turns = []; said.replaceChildren(); facts.replaceChildren(); describe(); });
  play.addEventListener("input", describe);
  for (const button of all("[data-copy]")) button.addEventListener("click", async () => {
    const code = document.querySelector(`[data-code="${button.dataset.copy}"]`);
    code.closest("details").open = true;
    one("copied").textContent = await copied(code);
  });
  describe();
}

// Orders that end something ask first.
document.addEventListener("submit", (event) => {
  const words = event.submitter?.dataset.ask;
  if (words && !window.confirm(words)) event.preventDefault();
});
