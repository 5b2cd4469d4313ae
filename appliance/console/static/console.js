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
    if (feed.readyState === EventSource.CLOSED) setTimeout(() => follow(address, take, beat), 3000);
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

// Orders that end something ask first.
document.addEventListener("submit", (event) => {
  const words = event.submitter?.dataset.ask;
  if (words && !window.confirm(words)) event.preventDefault();
});
