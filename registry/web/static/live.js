/**
 * Keeps a page up to date: asks for it again when the service tells of news, and changes what is
 * different and nothing else, so that focus, selection, scrolling and what was typed stay.
 *
 * Without it, or without the stream, a page shows what it showed when it was asked for.
 */

const LEAST_MS = 2_000; // between two updates, however fast blocks come
const POLL_MS = 15_000; // where there is no stream
const live = () => document.querySelector("#live");

// ---- Changing what differs ----

/** Attributes that somebody, or a program, gave an element. */
const KEPT = ["open", "class"];

/** Make one node as another is. What stands in `data-keep` belongs to a program, and stays. */
function patch(before, after) {
  if (before.nodeType !== after.nodeType || before.nodeName !== after.nodeName) {
    before.replaceWith(after);
    return;
  }
  if (before.nodeType !== Node.ELEMENT_NODE) {
    if (before.nodeValue !== after.nodeValue) before.nodeValue = after.nodeValue;
    return;
  }
  if (before.id !== after.id) {
    before.replaceWith(after);
    return;
  }
  if (before.hasAttribute("data-keep")) return;
  patchAttributes(before, after);
  patchChildren(before, after);
}

function patchAttributes(before, after) {
  for (const { name, value } of after.attributes)
    if (before.getAttribute(name) !== value) before.setAttribute(name, value);
  for (const { name } of [...before.attributes])
    if (!after.hasAttribute(name) && !KEPT.includes(name)) before.removeAttribute(name);
}

/** Rows with a `data-row` are the same rows wherever they stand, so that focus stays with them. */
function patchChildren(before, after) {
  const rows = new Map();
  for (const child of before.children) if (child.dataset?.row) rows.set(child.dataset.row, child);
  const wanted = [...after.childNodes];
  let place = before.firstChild;
  for (const child of wanted) {
    const known = child.dataset?.row && rows.get(child.dataset.row);
    if (known) {
      rows.delete(child.dataset.row);
      if (known === place) place = place.nextSibling;
      else before.insertBefore(known, place);
      patch(known, child);
    } else if (place && !place.dataset?.row && !child.dataset?.row) {
      const next = place.nextSibling;
      patch(place, child);
      place = next;
    } else before.insertBefore(child, place);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

htmx.defineExtension("patch", {
  isInlineSwap: (style) => style === "patch",
  handleSwap(style, target, fragment) {
    if (style !== "patch") return false;
    const isWhole = fragment.nodeType === Node.DOCUMENT_FRAGMENT_NODE;
    const after = isWhole ? fragment.firstElementChild : fragment;
    if (after) patch(target, after);
    document.dispatchEvent(new CustomEvent("waypost:shown"));
    return [target];
  },
});

// What the service refuses is a page too; it is shown only if somebody asked for it.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.xhr.status >= 400) detail.shouldSwap = false;
  tell(detail.xhr.status);
});

// ---- News ----

let [last, timer, isWaiting] = [0, 0, false];

/** Ask for the page again, soon; many calls make one. */
function update() {
  if (isWaiting || document.hidden) return;
  isWaiting = true;
  timer = setTimeout(async () => {
    isWaiting = false;
    last = Date.now();
    await htmx
      .ajax("GET", location.pathname + location.search, {
        source: live(), target: live(), swap: "patch", select: "#live",
      })
      .catch(() => {});
  }, Math.max(0, last + LEAST_MS - Date.now()));
}

/** Say in the foot whether news come. */
function tell(status) {
  const box = document.querySelector("#news");
  const isGood = status === 200;
  const text = isGood ? "Up to date: it changes by itself." : "Not up to date: nothing answers.";
  if (box && box.textContent !== text) box.textContent = text;
}

let stream = null;

function listen() {
  if (stream || !live()) return;
  stream = new EventSource("/v1/events");
  stream.addEventListener("open", () => tell(200));
  for (const kind of ["block", "list_final", "gap"]) stream.addEventListener(kind, update);
  stream.addEventListener("epoch", ({ data }) => {
    const { epoch } = JSON.parse(data);
    document.querySelector("#spoken").textContent = `Epoch ${epoch} has ended.`;
    update();
  });
  const tellList = () => document.dispatchEvent(new CustomEvent("waypost:list"));
  stream.addEventListener("list_final", tellList);
}

function hush() {
  stream?.close();
  stream = null;
  clearTimeout(timer);
  isWaiting = false;
}

// A hidden page needs no news, and a stream is one of few.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return hush();
  listen();
  update();
});
addEventListener("pagehide", hush);
addEventListener("pageshow", listen);
setInterval(() => {
  if (stream?.readyState === EventSource.CLOSED) {
    hush();
    listen();
    update();
  }
}, POLL_MS);

// ---- Countdown ----

function count() {
  for (const box of document.querySelectorAll("[data-ends]")) {
    const seconds = Math.floor((Number(box.dataset.ends) - Date.now()) / 1000);
    const text = seconds > 0 ? clock(seconds) : "any moment";
    if (box.textContent !== text) box.textContent = text;
  }
}

/** 1 d 02:03:04, 2:03:04 or 3:04. */
function clock(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const whole = (size) => Math.floor(seconds / size);
  const [d, h, m, s] = [whole(86400), whole(3600) % 24, whole(60) % 60, seconds % 60];
  if (d) return `${d} d ${two(h)}:${two(m)}:${two(s)}`;
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

listen();
count();
setInterval(count, 1_000);
document.addEventListener("waypost:shown", count);
