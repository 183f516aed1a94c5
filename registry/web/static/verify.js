/**
 * Verifies the newest final list in this browser, and says in words what held and what did not.
 *
 * Everything is fetched anew and believed only as far as `waypost.js` proves it. How far this
 * browser had come is kept, so that nobody takes it back; so are the hash of the genesis file that
 * was verified last, and what somebody typed: the hash that he trusts, a fingerprint that he got.
 * The twelve words are made here, and have to be those that the page shows.
 */

import { Refusal, TrustedLists, fromHex, readEpoch, toHex } from "./waypost.js";

const MOST = { genesis: 2 ** 26, header: 1946, path: 2 ** 22, list: 18_000_000 };
const TIMEOUT_MS = 60_000;
const WORDS_SHA256 = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda";

/** What is kept, beside an anchor for each genesis file. */
const TRUSTED = "waypost.genesis"; // the hash that somebody typed
const VOUCHED = "waypost.words"; // the fingerprint that somebody typed, as he typed it
const SEEN = "waypost.seen"; // the hash of the genesis file of the list that was verified last

const box = document.querySelector("#verify");
const form = box.querySelector("form"); // on one of the pages

/** What this browser keeps; a private window may keep nothing, and says so by throwing. */
const store = {
  attempt(act) {
    try {
      return act();
    } catch {
      return null;
    }
  },
  get: (name) => store.attempt(() => localStorage.getItem(name)),
  set: (name, value) => store.attempt(() => localStorage.setItem(name, value)),
  remove: (name) => store.attempt(() => localStorage.removeItem(name)),
};

// ---- Fetching ----

/**
 * The bytes at an address: never more than `most`, and never waiting for ever. The browser asks
 * whether what it keeps is still the newest, since a header may be kept for a block's time.
 */
async function fetchBytes(url, most) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const answer = await fetch(url, { cache: "no-cache", redirect: "error", signal });
  if (answer.status !== 200) throw new Error(`${url} answers ${answer.status}`);
  const reader = answer.body.getReader();
  const pieces = [];
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(pieces).arrayBuffer());
    size += value.length;
    if (size > most) throw new Error(`${url} does not end`);
    pieces.push(value);
  }
}

// ---- Words ----

const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

const checkOf = async (bytes) => BigInt((await sha256(bytes))[0] >> 4);

async function fetchWords() {
  const file = await fetchBytes(box.dataset.words, 2 ** 15);
  if (toHex(await sha256(file)) !== WORDS_SHA256)
    throw new Error("the list of words is another one");
  return new TextDecoder().decode(file).trim().split("\n");
}

/** Twelve words for 16 bytes: 128 bits and four bits of their SHA-256, eleven to a word. */
async function wordsOf(bytes) {
  const words = await fetchWords();
  let bits = (BigInt(`0x${toHex(bytes)}`) << 4n) | (await checkOf(bytes));
  const found = [];
  for (let n = 0; n < 12; n++, bits >>= 11n) found.unshift(words[Number(bits & 2047n)]);
  return found;
}

/** The fingerprint that somebody typed, in hexadecimal: 32 digits, or the twelve words for them. */
async function readFingerprint(text) {
  const digits = text.replaceAll(" ", "");
  if (/^[0-9a-f]{32}$/.test(digits)) return digits;
  const typed = text.split(" ");
  if (typed.length !== 12)
    throw new Failure("A fingerprint has twelve words, or 32 hexadecimal digits.");
  const words = await fetchWords();
  const places = typed.map((word) => words.indexOf(word));
  const unknown = places.indexOf(-1);
  if (unknown !== -1) throw new Failure(`No fingerprint has the word "${typed[unknown]}".`);
  const bits = places.reduce((all, place) => (all << 11n) | BigInt(place), 0n);
  const bytes = fromHex((bits >> 4n).toString(16).padStart(32, "0"));
  if ((bits & 15n) !== (await checkOf(bytes)))
    throw new Failure("One of the words is another one, or they stand in another order.");
  return toHex(bytes);
}

// ---- Verifying ----

/** What is done, in order; each returns a sentence on what held. */
const STEPS = [
  ["Genesis file", checkGenesis],
  ["Signed header", checkHeader],
  ["List of nodes", checkList],
  ["Fingerprint", checkFingerprint],
];

async function checkGenesis(work) {
  const file = await fetchBytes("/v1/genesis", MOST.genesis);
  work.hash = toHex(await sha256(file));
  const trusted = store.get(TRUSTED);
  if (trusted && trusted !== work.hash)
    throw new Failure(
      `This service belongs to another network: its genesis file has the hash ${work.hash}, ` +
        `and you trust ${trusted}.`,
    );
  const seen = store.get(SEEN);
  if (!trusted && seen && seen !== work.hash) throw new OtherNetwork(work.hash, seen);
  work.lists = await TrustedLists.start(file, Date.now());
  if (trusted) return "it is the one that you trust.";
  const start = work.hash.slice(0, 16);
  return `its hash begins with ${start}. Compare the whole hash with one that you got elsewhere.`;
}

async function checkHeader(work) {
  const { lists } = work;
  const kept = store.get(`waypost.anchor.${work.hash}`);
  if (kept) await lists.resume(fromHex(kept));
  const vouched = store.get(VOUCHED);
  if (vouched) lists.vouch(await readFingerprint(vouched));
  const header = await fetchBytes("/v1/lists/latest", MOST.header);
  const epoch = readEpoch(header);
  let path;
  if (lists.wantsPath(header)) {
    const from = lists.header ? `?from=${lists.header.epoch}` : "";
    path = await fetchBytes(`/v1/trust/${epoch}${from}`, MOST.path);
  }
  try {
    await lists.update(header, path);
  } catch (error) {
    if (error.code === "trust_expired") throw new Missing(epoch, vouched);
    throw error;
  }
  const { signed, seats } = lists.signers;
  const alone = lists.isSingleSigner ? " One attestor alone can sign: you trust it." : "";
  return `epoch ${epoch}, ${signed} of ${seats} attestors signed, which is enough.${alone}`;
}

async function checkList(work) {
  const { lists } = work;
  await lists.loadFull(await fetchBytes(`/v1/lists/${lists.header.epoch}/full`, MOST.list));
  store.set(`waypost.anchor.${work.hash}`, toHex(lists.anchorFile));
  const age = lists.status === "fresh" ? "It is fresh." : "It is older than it should be.";
  const [nodes, swarms] = [lists.entries.length, lists.swarmIds.length];
  return `${nodes} nodes in ${swarms} swarms, all as the header says. ${age}`;
}

async function checkFingerprint(work) {
  const words = await wordsOf(fromHex(await work.lists.fingerprint()));
  const shown = document.querySelector(`#fingerprint[data-epoch="${work.lists.header.epoch}"]`);
  const items = shown && [...shown.querySelectorAll("li")];
  const told = items && items.map((item) => item.textContent.trim());
  if (told && told.join(" ") !== words.join(" "))
    throw new Failure(
      `The words on this page are not those of the list, which are: ${words.join(" ")}.`,
    );
  return words.join(" ");
}

/** Something does not hold, and the message says so to people. */
class Failure extends Error {}

/** The genesis file is another one than before: that is for a person to judge. */
class OtherNetwork extends Failure {
  constructor(hash, seen) {
    super(
      `The genesis file of this service has the hash ${hash}, and the list that this browser ` +
        `verified before belonged to ${seen}. A network that was founded anew has another one, ` +
        "and so has a service that deceives you: accept it only if you know why it changed.",
    );
    this.hash = hash;
  }
}

/** Nothing is wrong, but too much time has passed to go on without the word of a person. */
class Missing extends Error {
  constructor(epoch, vouched) {
    const why = vouched
      ? `The fingerprint that was entered is not that of the list of epoch ${epoch}.`
      : "Too much time has passed since what this browser knows of the network: those who signed " +
        "then may have left, and could sign anything.";
    super(
      `${why} What is missing is the fingerprint of the list of epoch ${epoch}, from somebody ` +
        "whom you trust or from another service; this page cannot vouch for itself.",
    );
  }
}

/** What the codes of the module mean; others are shown as they are. */
const MEANINGS = {
  bad_genesis: "The genesis file is damaged.",
  not_canonical: "The genesis file is damaged.",
  bad_header: "The signed header is damaged.",
  unknown_format: "It is of a newer version than this page knows.",
  roll_back: "It is older than a list that this browser has seen: somebody offers an old one.",
  fork: "Two different lists of one epoch are signed: the attestors contradict themselves.",
  bad_path: "The path from the genesis file to the header is damaged.",
  wrong_set: "Others signed it than the attestors of this network.",
  unknown_attestor: "Others signed it than the attestors of this network.",
  not_final: "Too few attestors signed it.",
  bad_signature: "A signature on it is forged or damaged.",
  bad_history: "It does not continue the history of this network.",
  from_the_future: "It is of a time that has not come: is the clock of this machine right?",
  list_expired:
    "It has expired: the service offers an old list, or the clock of this machine is wrong.",
  bad_list:
    "The list is not the one that was signed: it was changed on the way, or by the service.",
  too_large: "The file is larger than any list can be.",
};

function explain(error) {
  if (error instanceof Failure) return error.message;
  if (error instanceof Refusal)
    return `${MEANINGS[error.code] ?? "It does not hold."} (${error.code})`;
  if (error.name === "NotSupportedError" || !crypto.subtle)
    return (
      "This browser cannot check signatures here: it needs Ed25519, and a page from https: " +
      "or from this machine."
    );
  return `It could not be fetched or read: ${error.message}.`;
}

let [isRunning, isAskedAgain] = [false, false];

async function run() {
  isAskedAgain = isRunning;
  if (isRunning) return;
  isRunning = true;
  const steps = box.querySelector(".steps");
  steps.replaceChildren();
  offer();
  show("busy", "Verifying…");
  const work = {};
  let name;
  try {
    for (const [title, step] of STEPS) {
      name = title;
      addStep(steps, `${title}: ${await step(work)}`);
    }
    const { epoch } = work.lists.header;
    store.set(SEEN, work.hash);
    show(
      "good",
      `Verified in this browser: the list of epoch ${epoch} is the one that the attestors signed.`,
    );
  } catch (error) {
    addStep(steps, `${name}: ${outcomeOf(error)}.`);
    if (error instanceof Missing) show("missing", `Not verified yet. ${error.message}`);
    else show("bad", `Not verified. ${name}: ${explain(error)}`);
    offer(error);
  } finally {
    isRunning = false;
  }
  if (isAskedAgain) run();
}

function outcomeOf(error) {
  if (error instanceof Missing) return "needs a fingerprint";
  if (error instanceof OtherNetwork) return "is another one than before";
  const isWrong = error instanceof Refusal || error instanceof Failure;
  return isWrong ? "does not hold" : "could not be checked";
}

const OFFERS = [
  [Missing, "Enter the fingerprint", () => form.elements.words.focus()],
  [
    OtherNetwork,
    "Accept the other genesis file",
    ({ hash }) => {
      store.set(SEEN, hash);
      run();
    },
  ],
];

/** Offer what a person can do about it: here where the form is, else a link to there. */
function offer(error) {
  const next = box.querySelector(".next");
  next.replaceChildren();
  for (const [kind, text, act] of OFFERS)
    if (error instanceof kind)
      next.append(form ? makeButton(text, () => act(error)) : makeLink());
  next.hidden = !next.hasChildNodes();
}

function makeLink() {
  const link = document.createElement("a");
  [link.href, link.textContent] = ["/verify", "Go on at Verify"];
  return link;
}

function makeButton(text, act) {
  const button = document.createElement("button");
  [button.type, button.textContent] = ["button", text];
  button.addEventListener("click", act);
  return button;
}


function addStep(steps, text) {
  const item = document.createElement("li");
  item.textContent = text;
  steps.append(item);
}

const NOTES = { good: "good", missing: "warn", bad: "bad" };

function show(state, text) {
  box.dataset.state = state;
  const result = box.querySelector(".result");
  result.className = `result note ${NOTES[state] ?? ""}`.trim();
  result.textContent = text;
}

// ---- What somebody types ----

if (form) {
  const { genesis, words } = form.elements;
  genesis.value = store.get(TRUSTED) ?? "";
  words.value = store.get(VOUCHED) ?? "";
  for (const input of [genesis, words])
    input.addEventListener("input", () => input.setCustomValidity(""));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [hash, print] = [read(genesis), read(words)];
    const isHash = hash === "" || /^[0-9a-f]{64}$/.test(hash);
    genesis.setCustomValidity(isHash ? "" : "A hash has 64 hexadecimal digits.");
    words.setCustomValidity(print && (await faultOf(print)));
    if (!form.reportValidity()) return;
    keep(TRUSTED, hash);
    keep(VOUCHED, print);
    run();
  });
}

const read = (input) => input.value.trim().toLowerCase().split(/\s+/).join(" ");

/** What is wrong with a fingerprint; nothing if it is one. */
const faultOf = (text) => readFingerprint(text).then(() => "", explain);

function keep(name, value) {
  if (value) store.set(name, value);
  else store.remove(name);
}

document.addEventListener("waypost:list", run);
run();
