/**
 * Verifies the node lists of a Waypost network from its genesis file alone, in a page or in Node.
 *
 * Bytes and a reference time go in, a list or a refusal comes out; nothing here asks a network, a
 * clock or a disk. The rules are those of docs/spec (client.md, trust.md, lists.md, genesis.md,
 * encoding.md); tests/vectors/verify.json holds this module and the one in Python to the same
 * answers. docs/using/javascript.md shows how to use it.
 *
 * It wants `crypto.subtle` with Ed25519 and `DecompressionStream("deflate-raw")`: Node 20.12 or
 * later, or a browser, for pages from https: or from this machine. The tests run it in Chromium.
 *
 * Read from the bottom: `TrustedLists` is what a program uses. 64-bit numbers are BigInt, smaller
 * ones Number, times are Unix milliseconds, bytes are Uint8Array.
 */

/** Bytes, or what they claim, are not accepted. Nothing has changed, except after a `fork`. */
export class Refusal extends Error {
  /**
   * @param {string} code one of docs/spec/refusals.md
   * @param {string} [why] for people; it may change
   */
  constructor(code, why = "") {
    super(why ? `${code}: ${why}` : code);
    this.name = "Refusal";
    this.code = code;
  }
}

const refuse = (code, why) => {
  throw new Refusal(code, why);
};

// ---- Bytes and hashes ----

const utf8 = new TextEncoder();

function join(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Less than, equal to or greater than 0, byte by byte; a prefix comes first. */
function compare(a, b) {
  const size = Math.min(a.length, b.length);
  for (let at = 0; at < size; at++) if (a[at] !== b[at]) return a[at] - b[at];
  return a.length - b.length;
}

const same = (a, b) => compare(a, b) === 0;

/** Whether each item of an array stands before the one that follows it. */
const ascends = (items, order) => items.every((item, n) => !n || order(items[n - 1], item) < 0);

/** A number as `size` bytes, the highest first. */
const bigEndian = (size, number) => fromHex(BigInt(number).toString(16).padStart(2 * size, "0"));

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** @param {Uint8Array} bytes @returns {string} lower-case hexadecimal */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => HEX[byte]).join("");
}

/** @param {string} text hexadecimal, two digits for each byte @returns {Uint8Array} */
export function fromHex(text) {
  if (text.length % 2 || /[^0-9a-f]/i.test(text)) throw new TypeError("not hexadecimal");
  return Uint8Array.from({ length: text.length / 2 }, (_, n) =>
    parseInt(text.slice(2 * n, 2 * n + 2), 16),
  );
}

/** A caller's bytes, copied, since what is checked must not change before it is used. */
function copyOf(bytes) {
  if (!(bytes instanceof Uint8Array)) throw new TypeError("bytes are a Uint8Array");
  return new Uint8Array(bytes);
}

const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
const padded = (tag) => join(utf8.encode(tag), new Uint8Array(32 - tag.length));
const taggedHash = (tag, ...parts) => sha256(join(padded(tag), ...parts));
const leafHash = (leaf) => sha256(join([0], leaf));
const nodeHash = (left, right) => sha256(join([1], left, right));

/** The root to which an audit path leads from a leaf hash, or null if it does not fit the tree. */
async function rootFromPath(leaf, index, size, path) {
  if (index >= size) return null;
  let [root, used] = [leaf, 0];
  for (let last = size - 1; last > 0; index >>= 1, last >>= 1) {
    // the last node of a level of odd length has no sibling and moves up as it is
    if (!(index & 1) && index === last) continue;
    if (used === path.length) return null;
    const sibling = path[used++];
    root = index & 1 ? await nodeHash(sibling, root) : await nodeHash(root, sibling);
  }
  return used === path.length ? root : null;
}

/** The fewest full subtrees of the leaves from `start` to before `stop`, as [level, place]. */
function splitLeaves(start, stop) {
  const subtrees = [];
  while (start < stop) {
    let level = 0n;
    while (start % (2n << level) === 0n && start + (2n << level) <= stop) level++;
    subtrees.push([level, start >> level]);
    start += 1n << level;
  }
  return subtrees;
}

/**
 * A history, grown by the roots of the full subtrees of what is added; null if they do not fit.
 * @param {{size: bigint, peaks: Uint8Array[]}} history
 * @param {bigint} stop leaves that it has then
 * @param {Uint8Array[]} roots
 * @returns {Promise<{size: bigint, peaks: Uint8Array[]} | null>}
 */
export async function extendHistory({ size, peaks }, stop, roots) {
  const subtrees = splitLeaves(size, stop);
  if (subtrees.length !== roots.length) return null;
  const grown = [...peaks];
  for (let [n, [, place]] of subtrees.entries()) {
    let root = roots[n];
    for (; place & 1n; place >>= 1n) root = await nodeHash(grown.pop(), root);
    grown.push(root);
  }
  return { size: stop, peaks: grown };
}

/** Its root. @param {{peaks: Uint8Array[]}} history @returns {Promise<Uint8Array>} */
export async function historyRoot({ peaks }) {
  if (!peaks.length) return sha256(new Uint8Array(0));
  let root = peaks.at(-1);
  for (const peak of peaks.slice(0, -1).reverse()) root = await nodeHash(peak, root);
  return root;
}

// ---- Ed25519: what docs/spec/encoding.md asks for and WebCrypto leaves open ----

const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

function mod(n) {
  const rest = n % P;
  return rest < 0n ? rest + P : rest;
}

function power(base, exponent) {
  let result = 1n;
  for (; exponent; exponent >>= 1n, base = (base * base) % P)
    if (exponent & 1n) result = (result * base) % P;
  return result;
}

const D = mod(-121665n * power(121666n, P - 2n));
const D2 = 2n * D;
const ROOT_OF_MINUS_ONE = power(2n, (P - 1n) / 4n);

const fromLittleEndian = (bytes) => BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);
const yOf = (encoded) => fromLittleEndian(encoded) & (2n ** 255n - 1n);

/** y of the eight points of small order; of 0 and 1 also as they are when they are not reduced. */
const Y_OF_ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_ORDER = new Set([0n, 1n, P - 1n, P, P + 1n, Y_OF_ORDER_8, P - Y_OF_ORDER_8]);

/** The point of an encoding as [x, y, z, t], or null if it is no canonical one. */
function decodePoint(encoded) {
  const y = yOf(encoded);
  const isNegative = BigInt(encoded[31] >> 7);
  if (y >= P) return null;
  const [u, v] = [mod(y * y - 1n), mod(D * y * y + 1n)];
  const v3 = mod(v * v * v);
  let x = mod(u * v3 * power(mod(u * v3 * v3 * v), (P - 5n) / 8n));
  if (mod(v * x * x) === mod(-u)) x = mod(x * ROOT_OF_MINUS_ONE);
  if (mod(v * x * x) !== u || (x === 0n && isNegative)) return null;
  if ((x & 1n) !== isNegative) x = P - x;
  return [x, y, 1n, mod(x * y)];
}

/** The sum of two points; the formula holds for any two, also for a point and itself. */
function addPoints([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const [a, b] = [mod((y1 - x1) * (y2 - x2)), mod((y1 + x1) * (y2 + x2))];
  const [c, d] = [mod(D2 * mod(t1 * t2)), 2n * z1 * z2];
  const [e, f, g, h] = [b - a, mod(d - c), mod(d + c), b + a];
  return [mod(e * f), mod(g * h), mod(f * g), mod(e * h)];
}

/** Whether 32 bytes are the canonical encoding of a point of full order. */
function isUsableKey(key) {
  let doubled = decodePoint(key);
  if (doubled === null || SMALL_ORDER.has(yOf(key))) return false;
  let sum = [0n, 1n, 1n, 0n];
  for (let bits = ORDER; bits; bits >>= 1n, doubled = addPoints(doubled, doubled))
    if (bits & 1n) sum = addPoints(sum, doubled);
  return sum[0] === 0n && sum[1] === sum[2];
}

/** Whether a signature holds, by the rules of *Verifying*, which are stricter than WebCrypto's. */
async function isSignature(key, message, signature) {
  const hasSmallOrder = [key, signature.subarray(0, 32)].some((half) => SMALL_ORDER.has(yOf(half)));
  if (hasSmallOrder || yOf(key) >= P) return false;
  if (fromLittleEndian(signature.subarray(32)) >= ORDER) return false;
  let imported;
  try {
    imported = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") throw error;
    return false; // it is no point of the curve
  }
  return crypto.subtle.verify("Ed25519", imported, signature, message);
}

// ---- Genesis: docs/spec/encoding.md, genesis.md, parameters.md ----

const MAX_GENESIS_BYTES = 2 ** 26;
const MAX_ATTESTORS = 25;
const [U8, U16, U32, U63, U64] = [8n, 16n, 32n, 63n, 64n].map((bits) => 2n ** bits - 1n);

/** Name, least and most of each parameter, by place. */
const PARAMETERS = `
  block_ms 100 3600000, epoch_ms 1000 2592000000, max_block_bytes 1000 16777216,
  max_block_transactions 1 100000, max_free_transactions 1 100000,
  max_transaction_bytes 500 65536, max_lifetime_blocks 1 1000000, minimum_fee 0 1000000000,
  staking_requirement 10 9223372036854775807, max_contributors 1 10, operator_share 1 10000,
  registration_ms 60000 31536000000, activation_floor 1 100000, activation_share 0 10000,
  attest_blocks 1 100000, fresh_ms 2000 2592000000, valid_ms 10000 7776000000,
  trust_ms 60000 31536000000, report_margin_ms 1000 2592000000, evidence_ms 60000 31536000000,
  unbonding_ms 60000 63072000000, allow_loopback 0 1, reservation_ms 60000 31536000000,
  contributor_wait_ms 0 31536000000, lock_ms 60000 63072000000, quorum_testers 1 32,
  quorum_threshold 1 32, activation_verdict 0 1, credit_start_ms 0 2592000000,
  credit_most_ms 0 7776000000, removal_floor 0 100000, removal_share 0 10000,
  grace_ms 0 7776000000, payable_ms 0 2592000000, reward_rate 0 10000, vote_penalty 0 10000,
  list_penalty 0 10000, block_penalty 0 10000, stake_floor 0 10000, bounty_share 0 5000,
  bounty_cap 0 9223372036854775807, set_change_ms 0 31536000000,
  founders_until 1 25, absences_most 1 100000
`
  .trim()
  .split(/,\s+/)
  .map((row) => row.split(" "))
  .map(([name, low, high]) => [name, BigInt(low), BigInt(high)]);

const RELATIONS = [
  (p) => p.block_ms <= p.epoch_ms,
  (p) => p.attest_blocks * p.block_ms <= p.epoch_ms,
  (p) => p.max_transaction_bytes <= p.max_block_bytes,
  (p) => p.epoch_ms <= p.fresh_ms,
  (p) => p.fresh_ms <= p.valid_ms,
  (p) => p.valid_ms <= p.trust_ms,
  (p) => p.trust_ms + p.report_margin_ms <= p.evidence_ms,
  (p) => p.evidence_ms < p.unbonding_ms,
  (p) => p.unbonding_ms <= p.lock_ms,
  (p) => p.quorum_threshold <= p.quorum_testers,
  (p) => p.quorum_testers < 2n * p.quorum_threshold,
  (p) => p.credit_start_ms <= p.credit_most_ms,
];

/** Reads the MessagePack of records, and refuses every encoding but the canonical one. */
class RecordReader {
  #raw;
  #view;
  #at = 0;

  constructor(raw) {
    this.#raw = raw;
    this.#view = viewOf(raw);
  }

  #check(holds) {
    if (!holds) refuse("not_canonical");
  }

  #take(size) {
    const start = this.#at;
    this.#check(this.#raw.length - start >= size);
    this.#at += size;
    return this.#raw.subarray(start, this.#at);
  }

  /** A big-endian number of `size` bytes that no shorter form would have held. */
  #wide(size, least) {
    const value = this.#take(size).reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);
    this.#check(value >= least);
    return value;
  }

  number(most) {
    const head = this.#take(1)[0];
    const form = { 0xcc: [1, 128n], 0xcd: [2, U8 + 1n], 0xce: [4, U16 + 1n], 0xcf: [8, U32 + 1n] };
    this.#check(head < 0x80 || head in form);
    const value = head < 0x80 ? BigInt(head) : this.#wide(...form[head]);
    this.#check(value <= most);
    return value;
  }

  bytes(least, most) {
    const form = { 0xc4: [1, 0n], 0xc5: [2, U8 + 1n], 0xc6: [4, U16 + 1n] }[this.#take(1)[0]];
    this.#check(form);
    const size = Number(this.#wide(...form));
    this.#check(least <= size && size <= most);
    return this.#take(size);
  }

  /** An array, each of whose items `read` reads. */
  array(least, most, read) {
    const head = this.#take(1)[0];
    const form = { 0xdc: [2, 16n], 0xdd: [4, U16 + 1n] };
    this.#check(head >> 4 === 9 || head in form);
    const count = head >> 4 === 9 ? head & 15 : Number(this.#wide(...form[head]));
    this.#check(least <= count && count <= most);
    const items = [];
    for (let n = 0; n < count; n++) items.push(read(this));
    return items;
  }

  /** A record, each of whose fields one of the functions reads. */
  record(...fields) {
    let n = 0;
    return this.array(fields.length, fields.length, () => fields[n++](this));
  }

  end() {
    this.#check(this.#at === this.#raw.length);
  }
}

const u8 = (r) => r.number(U8);
const u16 = (r) => r.number(U16);
const u32 = (r) => r.number(U32);
const u63 = (r) => r.number(U63);
const u64 = (r) => r.number(U64);
const bytes = (least, most) => (r) => r.bytes(least, most);
const bytes32 = bytes(32, 32);
const version = (r) => r.record(u8, u8, u8);
const contact = (r) => r.record(bytes(0, 4), bytes(0, 16), u16, u16, version, version);
const attestor = (r) => r.record(bytes32, u32, bytes32, bytes(0, 32), bytes(0, 32));
const account = (r) => r.record(bytes32, u63);
const node = (r) => r.record(bytes32, bytes32, bytes32, contact, u64, u63);

function decodeGenesis(raw) {
  if (raw.length > MAX_GENESIS_BYTES) refuse("too_large");
  const reader = new RecordReader(raw);
  const fields = reader.record(
    u8, // version
    bytes(1, 40), // name
    u63, // start_ms
    u8, // engine
    bytes(0, 32), // producer
    u8, // policy
    bytes32, // seed
    (r) => r.array(0, Infinity, u63), // params
    u63, // pool
    (r) => r.array(1, MAX_ATTESTORS, attestor),
    (r) => r.array(0, MAX_ATTESTORS, bytes32), // recovery
    (r) => r.array(0, Infinity, (each) => void account(each)),
    (r) => r.array(0, Infinity, (each) => void node(each)),
    bytes(0, 32), // predecessor
  );
  reader.end();
  const [formatVersion, , startMs, , , policy, , values, , seats, recovery] = fields;
  const founders = seats.map(([listKey, weight]) => ({ listKey, weight: Number(weight) }));
  return { formatVersion, startMs, policy, values, founders, recovery };
}

function checkParameters(values) {
  if (values.length !== PARAMETERS.length) refuse("bad_genesis", "its parameters are not as many");
  PARAMETERS.forEach(([name, low, high], place) => {
    if (values[place] < low || values[place] > high) refuse("bad_parameter", name);
  });
  const params = Object.fromEntries(PARAMETERS.map(([name], place) => [name, values[place]]));
  for (const holds of RELATIONS) if (!holds(params)) refuse("bad_relation", `${holds}`);
  return params;
}

const [FIXED, REGISTRY] = [1n, 2n];

/** What a reader takes of a genesis file; what only a ledger needs of it is not looked at. */
async function readNetwork(raw) {
  const { formatVersion, startMs, policy, values, founders, recovery } = decodeGenesis(raw);
  const { epoch_ms: epochMs, trust_ms } = checkParameters(values);
  const keys = founders.map(({ listKey }) => listKey);
  const check = (holds, why) => holds || refuse("bad_genesis", why);
  check(formatVersion === 1n, "its version is unknown");
  check(policy === FIXED || policy === REGISTRY, "its policy for attestors is unknown");
  check(ascends(keys, compare), "its attestors do not ascend");
  check(keys.every(isUsableKey), "a list key is not usable");
  check(founders.every(({ weight }) => weight > 0), "an attestor weighs nothing");
  check(ascends(recovery, compare), "its recovery keys do not ascend");
  check(recovery.every(isUsableKey), "a recovery key is not usable");
  const trustMs = policy === FIXED ? null : trust_ms; // null: without end
  return { genesisHash: await sha256(raw), startMs, epochMs, trustMs, founders, recovery };
}

// ---- Headers: docs/spec/lists.md ----

const HEADER_BYTES = 342;
const SIGNATURE_BYTES = 64;
const MAX_NODES = 2 ** 18;
const MAX_SWARMS = 2 ** 16;
const MAX_MEMBERS = 2 ** 16 - 1;

/**
 * The header of one epoch's list.
 * @typedef {object} ListHeader
 * @property {number} formatVersion
 * @property {number} rulesVersion
 * @property {number} nextFormat
 * @property {bigint} epoch the epoch at whose end it was made; it governs the next one
 * @property {bigint} height last block of that epoch
 * @property {bigint} validAfterMs Unix milliseconds
 * @property {bigint} freshUntilMs past it a newer list should be there
 * @property {bigint} validUntilMs past it the list is not to be used
 * @property {number} nodeCount
 * @property {number} swarmCount
 * @property {Uint8Array} listHash
 * @property {Uint8Array} swarmRoot
 * @property {Uint8Array} setHash the attestors that sign this header
 * @property {Uint8Array} nextSetHash the attestors that sign the next one
 * @property {Uint8Array} historyRoot root over all earlier headers
 * @property {Uint8Array} stateRoot
 * @property {Uint8Array} paramsDigest
 * @property {Uint8Array} seed
 * @property {Uint8Array} successor hash of the genesis file that continues the network, or zeros
 */

const HASHES = [
  ...["listHash", "swarmRoot", "setHash", "nextSetHash", "historyRoot", "stateRoot"],
  ...["paramsDigest", "seed", "successor"],
];

/** Refuses with `unknown_format`, `bad_header`. */
function decodeHeader(raw) {
  const view = viewOf(raw);
  if (raw.length >= 2 && view.getUint16(0) !== 1) refuse("unknown_format");
  if (raw.length !== HEADER_BYTES) refuse("bad_header", "it is cut off");
  const header = {
    formatVersion: view.getUint16(0),
    rulesVersion: view.getUint16(2),
    nextFormat: view.getUint16(4),
    epoch: view.getBigUint64(6),
    height: view.getBigUint64(14),
    validAfterMs: view.getBigUint64(22),
    freshUntilMs: view.getBigUint64(30),
    validUntilMs: view.getBigUint64(38),
    nodeCount: view.getUint32(46),
    swarmCount: view.getUint32(50),
  };
  HASHES.forEach((name, n) => (header[name] = raw.slice(54 + 32 * n, 86 + 32 * n)));
  const { validAfterMs, freshUntilMs, validUntilMs, nodeCount, swarmCount } = header;
  if (!(validAfterMs < freshUntilMs && freshUntilMs <= validUntilMs))
    refuse("bad_header", "its times are out of order");
  if (nodeCount > MAX_NODES || swarmCount > Math.min(MAX_SWARMS, nodeCount))
    refuse("bad_header", "its counts are out of range");
  return header;
}

/** Which places of a set of 32 bits are 1, the lowest first. */
const placesOf = (bits) => Array.from({ length: 32 }, (_, n) => n).filter((n) => (bits >>> n) & 1);

/** The header's bytes, and its signatures by index. Refuses with `bad_header`. */
function decodeSignedHeader(raw) {
  if (raw.length < HEADER_BYTES + 4) refuse("bad_header", "it is cut off");
  const signers = placesOf(viewOf(raw).getUint32(HEADER_BYTES));
  if (signers.some((index) => index >= MAX_ATTESTORS))
    refuse("bad_header", "it names attestors that cannot exist");
  if (raw.length !== HEADER_BYTES + 4 + SIGNATURE_BYTES * signers.length)
    refuse("bad_header", "signatures and signers differ in number");
  const start = (n) => HEADER_BYTES + 4 + SIGNATURE_BYTES * n;
  const cut = signers.map((index, n) => [index, raw.subarray(start(n), start(n + 1))]);
  return { header: raw.subarray(0, HEADER_BYTES), signatures: new Map(cut) };
}

/**
 * The epoch that a signed header claims, nothing of it verified: to ask for what belongs to it.
 *
 * Refuses with `bad_header`, `unknown_format`.
 * @param {Uint8Array} signedHeader
 * @returns {bigint}
 */
export function readEpoch(signedHeader) {
  return decodeHeader(decodeSignedHeader(copyOf(signedHeader)).header).epoch;
}

function encodeSignedHeader({ header, signatures }) {
  const indices = [...signatures.keys()].sort((a, b) => a - b);
  const bits = indices.reduce((sum, index) => sum + 2 ** index, 0);
  return join(header, bigEndian(4, bits), ...indices.map((index) => signatures.get(index)));
}

/** How a set is hashed, and stands in a path. */
function encodeSet(members) {
  const seats = members.map(({ listKey, weight }) => join(listKey, bigEndian(4, weight)));
  return join([members.length], ...seats);
}

/** The hash of a set as hexadecimal, which serves as a key of maps. */
async function setHashOf(members) {
  return toHex(await taggedHash("waypost attestors", encodeSet(members)));
}

const weightOf = (members) => members.reduce((sum, { weight }) => sum + weight, 0);
const isFinal = (weight, total) => 3 * weight > 2 * total;

/** Refuses with `unknown_attestor`, `not_final`, `bad_signature`. */
async function checkSignatures(genesisHash, { header, signatures }, members) {
  const indices = [...signatures.keys()];
  if (indices.some((index) => index >= members.length)) refuse("unknown_attestor");
  const signers = indices.map((index) => members[index]);
  if (!isFinal(weightOf(signers), weightOf(members))) refuse("not_final");
  const message = join(padded("waypost list header"), genesisHash, header);
  await checkEach(message, indices.map((n) => [members[n].listKey, signatures.get(n)]));
}

/** Refuses with `bad_signature` unless each of these, by its key, is one of a message. */
async function checkEach(message, signers) {
  const check = ([key, signature]) => isSignature(key, message, signature);
  if (!(await Promise.all(signers.map(check))).every(Boolean)) refuse("bad_signature");
}

// ---- Columns and leaves: docs/spec/lists.md ----

/** [name, bytes of a cell, the flag of who has one; 0 for everybody], in order. */
const COLUMNS = [
  ["key", 32, 0],
  ["flags", 1, 0],
  ["ipv4", 4, 1],
  ["ipv6", 16, 2],
  ["storagePort", 2, 0],
  ["routerPort", 2, 0],
  ["storageVersion", 3, 0],
  ["routerVersion", 3, 0],
  ["swarm", 2, 0],
];
const [KEY, FLAGS, PLACE] = [0, 1, 8];
const NO_SWARM = 2n ** 64n - 1n;
const isKnownFlags = (flags) => flags >= 1 && flags <= 3;

/** Where the cell of each entry begins in a column, −1 for an entry without one. */
function cellStarts(flags, [, width, bit]) {
  let next = -width;
  return Int32Array.from(flags, (flag) => (bit === 0 || flag & bit ? (next += width) : -1));
}

/**
 * A list as its columns.
 * @typedef {object} Columns
 * @property {number} nodeCount
 * @property {bigint[]} swarmIds
 * @property {Uint8Array[]} cells the bytes of each column
 */

/**
 * The columns of exactly one list. Refuses everything else with `bad_list`.
 * @param {Uint8Array} raw what a list hash covers
 * @returns {Columns}
 */
export function readColumns(raw) {
  if (raw.length < 8) refuse("bad_list", "it is cut off");
  const view = viewOf(raw);
  const [nodeCount, swarmCount] = [view.getUint32(0), view.getUint32(4)];
  if (nodeCount > MAX_NODES || swarmCount > Math.min(nodeCount, MAX_SWARMS))
    refuse("bad_list", "its counts are out of range");
  let at = 8 + 8 * swarmCount;
  if (raw.length < at) refuse("bad_list", "it is cut off");
  const swarmIds = Array.from({ length: swarmCount }, (_, n) => view.getBigUint64(8 + 8 * n));
  const cells = [];
  for (const [, width, bit] of COLUMNS) {
    const has = (sum, flag) => sum + Boolean(flag & bit);
    const count = bit ? cells[FLAGS].reduce(has, 0) : nodeCount;
    cells.push(raw.subarray(at, (at += count * width)));
    if (raw.length < at) refuse("bad_list", "it is cut off");
  }
  if (raw.length !== at) refuse("bad_list", "bytes are left over");
  checkColumns(nodeCount, swarmIds, cells);
  return { nodeCount, swarmIds, cells };
}

function checkColumns(nodeCount, swarmIds, cells) {
  if (!cells[FLAGS].every(isKnownFlags)) refuse("bad_list", "a node has unknown flags");
  for (let at = 32; at < cells[KEY].length; at += 32)
    if (compare(cells[KEY].subarray(at - 32, at), cells[KEY].subarray(at, at + 32)) >= 0)
      refuse("bad_list", "its keys do not ascend");
  if (!ascends(swarmIds, (a, b) => (a < b ? -1 : 1)) || swarmIds.at(-1) === NO_SWARM)
    refuse("bad_list", "its swarm ids do not ascend");
  const view = viewOf(cells[PLACE]);
  const places = new Set();
  for (let n = 0; n < nodeCount; n++) places.add(view.getUint16(2 * n));
  // as many different places as swarms, none beyond them, are all of them
  if (places.size !== swarmIds.length || [...places].some((place) => place >= swarmIds.length))
    refuse("bad_list", "swarms and their members do not match");
}

/**
 * A node of a list.
 * @typedef {object} Entry
 * @property {string} key the node's Ed25519 key, 64 hexadecimal digits
 * @property {string} ipv4 4 bytes as hexadecimal, or nothing
 * @property {string} ipv6 16 bytes as hexadecimal, or nothing
 * @property {number} storagePort
 * @property {number} routerPort
 * @property {number[]} storageVersion major, minor, patch
 * @property {number[]} routerVersion major, minor, patch
 * @property {bigint} swarmId
 */

const big16 = (cell) => cell[0] * 256 + cell[1];

function makeEntry(cells, swarmId) {
  return Object.freeze({
    key: toHex(cells[0]),
    ipv4: toHex(cells[2]),
    ipv6: toHex(cells[3]),
    storagePort: big16(cells[4]),
    routerPort: big16(cells[5]),
    storageVersion: Object.freeze([...cells[6]]),
    routerVersion: Object.freeze([...cells[7]]),
    swarmId,
  });
}

/** The entries of a list, by ascending key; of one swarm only, where its place is given. */
function makeEntries({ nodeCount, swarmIds, cells }, wanted = null) {
  const starts = COLUMNS.map((column) => cellStarts(cells[FLAGS], column));
  const places = viewOf(cells[PLACE]);
  const entries = [];
  for (let n = 0; n < nodeCount; n++) {
    const place = places.getUint16(2 * n);
    if (wanted !== null && wanted !== place) continue;
    const row = COLUMNS.map(([, width], column) => {
      const start = Math.max(starts[column][n], 0);
      return cells[column].subarray(start, starts[column][n] < 0 ? start : start + width);
    });
    entries.push(makeEntry(row, swarmIds[place]));
  }
  return entries;
}

const LEAF_HEAD_BYTES = 26;

/** The members of the leaf with which bytes begin, as cells, and its length; or `bad_list`. */
function cutLeaf(raw) {
  if (raw.length < LEAF_HEAD_BYTES) refuse("bad_list", "it is cut off");
  const members = [];
  let at = LEAF_HEAD_BYTES;
  for (let count = viewOf(raw).getUint16(24); count > 0; count--) {
    const flags = raw[at + 32];
    if (!isKnownFlags(flags)) refuse("bad_list", "it is cut off, or a node has unknown flags");
    members.push(
      COLUMNS.slice(0, -1).map(([, width, bit]) => {
        const start = at;
        if (bit === 0 || flags & bit) at += width;
        return raw.subarray(start, at);
      }),
    );
  }
  if (raw.length < at) refuse("bad_list", "it is cut off");
  return { size: at, members };
}

/** The swarm of a leaf. Refuses with `bad_list`. */
function readLeaf(raw) {
  const { size, members } = cutLeaf(raw);
  if (size !== raw.length) refuse("bad_list", "bytes are left over");
  const [before, swarmId, after] = [0, 8, 16].map((at) => viewOf(raw).getBigUint64(at));
  if (!members.length || !ascends(members.map((cells) => cells[KEY]), compare))
    refuse("bad_list", "a swarm has no members, or they do not ascend");
  if (swarmId === NO_SWARM) refuse("bad_list", "a node has no swarm");
  return { before, swarmId, after, members: members.map((cells) => makeEntry(cells, swarmId)) };
}

// ---- The files full, delta and slice: docs/spec/lists.md ----

const PIECE_BYTES = 4096;

/** What one raw deflate stream holds, with nothing after it: `limit` bytes at most. `bad_list` */
async function inflate(data, limit) {
  const whole = await inflatePrefix(data, limit);
  // Some engines pass over what follows the end of a stream. Without its last byte a stream that
  // ends there has no end.
  const endsBefore = whole && (await inflatePrefix(data.subarray(0, -1), limit)) !== null;
  if (whole === null || endsBefore) refuse("bad_list", "it is no deflate stream of that size");
  return whole;
}

/** What a stream holds that ends with these bytes or before, or null. */
async function inflatePrefix(data, limit) {
  let at = 0;
  // In small pieces, so that no more than some MB are inflated past the limit.
  const source = new ReadableStream({
    pull(control) {
      if (at >= data.length) control.close();
      else control.enqueue(data.slice(at, (at += PIECE_BYTES)));
    },
  });
  const reader = source.pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const pieces = [];
  try {
    for (let size = 0; ; ) {
      const { done, value } = await reader.read();
      if (done) return join(...pieces);
      size += value.length;
      if (size > limit) return null;
      pieces.push(value);
    }
  } catch {
    return null;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Refuses with `too_large`, `bad_list`, `unknown_format` what cannot be a file of this length. */
function checkFile(data, limit) {
  if (data.length > limit) refuse("too_large");
  if (data.length === 0) refuse("bad_list", "the file is empty");
  if (data[0] !== 1) refuse("unknown_format");
}

async function checkListHash(raw, listHash) {
  if (!same(await sha256(raw), listHash)) refuse("bad_list", "its hash is another one");
}

async function decodeFull(data, { listHash, nodeCount, swarmCount }) {
  const bound = 8 + 8 * swarmCount + 65 * nodeCount;
  checkFile(data, bound + Math.floor(bound / 1000) + 64);
  const raw = await inflate(data.subarray(1), bound);
  await checkListHash(raw, listHash);
  return readColumns(raw);
}

/** Reads the numbers and cells of a delta. Refuses with `bad_list` what is cut off or left over. */
class DeltaReader {
  constructor(raw, at = 0) {
    this.raw = raw;
    this.at = at;
  }

  /** Where the next `size` bytes begin. */
  take(size) {
    const start = this.at;
    if (this.raw.length - start < size) refuse("bad_list", "it is cut off");
    this.at += size;
    return start;
  }

  number(most) {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      if (shift === 21) refuse("bad_list", "a number is too long");
      const byte = this.raw[this.take(1)];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (value > most) refuse("bad_list", "a number is too large");
    return value;
  }

  /** Ascending places below `count`. */
  places(count) {
    const places = [];
    for (let left = this.number(count), next = 0; left > 0; left--) {
      const place = next + this.number(count);
      if (place >= count) refuse("bad_list", "a place is beyond the list");
      places.push(place);
      next = place + 1;
    }
    return places;
  }

  end() {
    if (this.at !== this.raw.length) refuse("bad_list", "bytes are left over");
  }
}

const LARGEST = { listHash: null, nodeCount: MAX_NODES, swarmCount: MAX_SWARMS };

/**
 * The columns to which a delta leads from others. Refuses with `too_large`, `unknown_format`,
 * `bad_list`.
 * @param {Columns} old
 * @param {Uint8Array} data as `application/vnd.waypost.delta`
 * @param {{listHash: Uint8Array | null, nodeCount: number, swarmCount: number}} header what a
 *   verified header says of the later list
 * @returns {Promise<Columns>}
 */
export async function applyDelta(old, data, { listHash, nodeCount, swarmCount }) {
  const passed = old.nodeCount + old.swarmIds.length + 22;
  const bound = 3 * passed + 61 * nodeCount + 8 * swarmCount;
  checkFile(data, 4 + 32 * nodeCount + 64 + Math.floor((bound * 1001) / 1000));
  const head = new DeltaReader(data, 1);
  const joining = head.number(nodeCount);
  const joinKeys = data.subarray(head.take(32 * joining), head.at);
  const body = new DeltaReader(await inflate(data.subarray(head.at), bound));
  const gone = new Set(body.places(old.nodeCount));
  const swarms = readSwarms(body, old.swarmIds, swarmCount);
  const stay = Array.from({ length: old.nodeCount }, (_, n) => n).filter((n) => !gone.has(n));
  const total = stay.length + joining;
  if (total > nodeCount) refuse("bad_list", "it has more nodes than its header says");
  const keys = { source: join(old.cells[KEY], joinKeys), starts: new Int32Array(total) };
  stay.forEach((n, place) => (keys.starts[place] = 32 * n));
  for (let n = 0; n < joining; n++)
    keys.starts[stay.length + n] = old.cells[KEY].length + 32 * n;
  const order = orderOf(keys);
  const cells = [gather(keys, order, 32)];
  let flags = null;
  for (let column = FLAGS; column < PLACE; column++) {
    const made = readColumn(body, column, old, stay, total, flags);
    // the flags decide which cells the columns of addresses have
    if (column === FLAGS) flags = Uint8Array.from(made.starts, (start) => made.source[start]);
    cells.push(gather(made, order, COLUMNS[column][1]));
  }
  cells.push(readSwarmPlaces(body, old, stay, total, swarms, order));
  body.end();
  const raw = joinColumns({ nodeCount: total, swarmIds: swarms.ids, cells });
  if (listHash !== null) await checkListHash(raw, listHash);
  return readColumns(raw);
}

/** The swarms of the later list, and which place there each earlier one has, −1 if it is gone. */
function readSwarms(body, old, most) {
  const gone = new Set(body.places(old.length));
  const count = body.number(most);
  const view = viewOf(body.raw);
  const start = body.take(8 * count);
  const added = Array.from({ length: count }, (_, n) => view.getBigUint64(start + 8 * n));
  const kept = old.filter((_, place) => !gone.has(place));
  const ids = [...new Set([...kept, ...added])].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  if (ids.length > most) refuse("bad_list", "it has more swarms than its header says");
  const placeOf = new Map(ids.map((id, place) => [id, place]));
  return { ids, kept: old.map((id, place) => (gone.has(place) ? -1 : placeOf.get(id))) };
}

/** The order of keys, as their indexes. */
function orderOf({ source, starts }) {
  const keyOf = (n) => source.subarray(starts[n], starts[n] + 32);
  return Array.from(starts, (_, n) => n).sort((a, b) => compare(keyOf(a), keyOf(b)));
}

/** Where the cells of a column begin: of those who stay, and then of those who join. */
function readColumn(body, column, old, stay, total, flags) {
  const [, width, bit] = COLUMNS[column];
  const before = cellStarts(old.cells[FLAGS], COLUMNS[column]);
  const source = join(old.cells[column], body.raw);
  const starts = new Int32Array(total).fill(-1);
  stay.forEach((n, place) => (starts[place] = before[n]));
  const hasCell = (place) => bit === 0 || flags[place] & bit;
  const read = (place) => {
    if (hasCell(place)) starts[place] = old.cells[column].length + body.take(width);
  };
  body.places(stay.length).forEach(read);
  for (let place = stay.length; place < total; place++) read(place);
  for (let place = 0; place < total; place++)
    if (!hasCell(place)) starts[place] = -1;
    else if (starts[place] < 0) refuse("bad_list", "a node has no address that its flags name");
  return { source, starts };
}

/** The cells of a column in an order. */
function gather({ source, starts }, order, width) {
  const cells = new Uint8Array(width * order.length);
  let at = 0;
  for (const n of order)
    if (starts[n] >= 0) {
      for (let byte = 0; byte < width; byte++) cells[at + byte] = source[starts[n] + byte];
      at += width;
    }
  return cells.subarray(0, at);
}

function readSwarmPlaces(body, old, stay, total, { ids, kept }, order) {
  const view = viewOf(old.cells[PLACE]);
  const places = new Int32Array(total).fill(-1);
  stay.forEach((n, place) => (places[place] = kept[view.getUint16(2 * n)]));
  const read = (place) => (places[place] = body.number(ids.length - 1));
  body.places(stay.length).forEach(read);
  for (let place = stay.length; place < total; place++) read(place);
  if (places.includes(-1)) refuse("bad_list", "a node has no swarm");
  const cells = new Uint8Array(2 * total);
  order.forEach((n, place) => viewOf(cells).setUint16(2 * place, places[n]));
  return cells;
}

/**
 * The bytes that a list hash covers.
 * @param {Columns} columns
 * @returns {Uint8Array}
 */
export function joinColumns({ nodeCount, swarmIds, cells }) {
  const ids = swarmIds.map((id) => bigEndian(8, id));
  return join(bigEndian(4, nodeCount), bigEndian(4, swarmIds.length), ...ids, ...cells);
}

const MAX_PATH = 16; // hashes
const MAX_SLICE_BYTES =
  1 + HEADER_BYTES + 4 + MAX_ATTESTORS * SIGNATURE_BYTES + 2 +
  LEAF_HEAD_BYTES + MAX_MEMBERS * 63 + 32 * MAX_PATH;

/** The parts of a slice, not verified. */
function decodeSlice(data) {
  checkFile(data, MAX_SLICE_BYTES);
  const signersEnd = 1 + HEADER_BYTES + 4;
  if (data.length < signersEnd) refuse("bad_list", "it is cut off");
  const signers = placesOf(viewOf(data).getUint32(signersEnd - 4)).length;
  const headerEnd = signersEnd + SIGNATURE_BYTES * signers;
  const { size } = cutLeaf(data.subarray(headerEnd + 2));
  const rest = data.subarray(headerEnd + 2 + size);
  if (rest.length % 32 || rest.length > 32 * MAX_PATH)
    refuse("bad_list", "its path has no whole hashes, or too many");
  return {
    signedHeader: data.subarray(1, headerEnd),
    place: big16(data.subarray(headerEnd)),
    leaf: data.subarray(headerEnd + 2, headerEnd + 2 + size),
    path: Array.from({ length: rest.length / 32 }, (_, n) => rest.subarray(32 * n, 32 * n + 32)),
  };
}

/** The members of the swarm that serves an account, if a slice proves them, or `bad_list`. */
async function openSlice({ place, leaf, path }, header, accountId) {
  const root = await rootFromPath(await leafHash(leaf), place, header.swarmCount, path);
  if (root === null || !same(root, header.swarmRoot))
    refuse("bad_list", "its path does not lead to the header's root of swarms");
  const { before, swarmId, after, members } = readLeaf(leaf);
  const around = [...new Set([before, swarmId, after])].sort((a, b) => (a < b ? -1 : 1));
  if (nearestSwarm(around, positionOf(accountId)) !== swarmId)
    refuse("bad_list", "another swarm is nearer to the account");
  return members;
}

// ---- Swarms: docs/spec/swarms.md ----

function checkAccountId(accountId) {
  if (accountId.length !== 32 && accountId.length !== 33)
    throw new TypeError("an account id has 33 bytes, or 32 without its prefix");
}

function positionOf(accountId) {
  const view = viewOf(accountId.slice(-32));
  return [0, 8, 16, 24].reduce((position, at) => position ^ view.getBigUint64(at), 0n);
}

/** The swarm, of ascending ids, that serves a position; `NO_SWARM` if there is none. */
function nearestSwarm(ids, position) {
  if (!ids.length) return NO_SWARM;
  const found = ids.findIndex((id) => id >= position);
  const right = ids.at(Math.max(found, 0));
  const left = ids.at(Math.max(found, 0) - 1);
  const distance = (to, from) => BigInt.asUintN(64, to - from);
  return distance(right, position) < distance(position, left) ? right : left;
}

// ---- Trust paths: docs/spec/trust.md ----

const MAX_PATH_BYTES = 2 ** 22;
const MAX_HEADERS = 1000;
const MAX_SETS = 2;
const MAX_HASHES = 126;

/** Reads the parts of a path. Refuses with `bad_path` what is cut off, left over or too much. */
class PathReader {
  #raw;
  #at = 0;

  constructor(raw) {
    this.#raw = raw;
    if (this.number(1) !== 1) refuse("unknown_format");
  }

  take(size) {
    const start = this.#at;
    if (this.#raw.length - start < size) refuse("bad_path", "it is cut off");
    return this.#raw.subarray(start, (this.#at += size));
  }

  number(size, most = 2 ** 32) {
    const number = this.take(size).reduce((sum, byte) => 256 * sum + byte, 0);
    if (number > most) refuse("bad_path", "it has more than there may be");
    return number;
  }

  /** As many items as a number of `size` bytes says. */
  several(size, most, read) {
    return Array.from({ length: this.number(size, most) }, () => read(this));
  }

  signedHeader() {
    const head = this.take(HEADER_BYTES + 4);
    const signers = placesOf(viewOf(head).getUint32(HEADER_BYTES)).length;
    return join(head, this.take(SIGNATURE_BYTES * signers));
  }

  set() {
    const seat = (r) => ({ listKey: r.take(32), weight: r.number(4) });
    const members = this.several(1, MAX_ATTESTORS, seat);
    if (!members.length) refuse("bad_path", "a set has no attestor");
    return members;
  }

  recovery() {
    const count = this.number(1, MAX_ATTESTORS);
    if (!count) return null;
    const [begin, tipsHash] = [viewOf(this.take(8)).getBigUint64(0), this.take(32)];
    const signer = () => [this.take(32), this.take(SIGNATURE_BYTES)];
    const signers = Array.from({ length: count }, signer);
    return { begin, tipsHash, signers };
  }

  hop() {
    const sets = this.several(1, MAX_SETS, (r) => r.set());
    const recovery = this.recovery();
    return { sets, recovery, hashes: this.several(1, MAX_HASHES, (r) => r.take(32)) };
  }

  end() {
    if (this.#at !== this.#raw.length) refuse("bad_path", "bytes are left over");
  }
}

/** The headers on the way, each with the hop to it, and the last hop. */
function decodePath(raw) {
  if (raw.length > MAX_PATH_BYTES) refuse("too_large");
  if (!raw.length) return { ways: [], hop: { sets: [], recovery: null, hashes: [] } };
  const reader = new PathReader(raw);
  const way = (r) => ({ hop: r.hop(), signedHeader: r.signedHeader() });
  const path = { ways: reader.several(2, MAX_HEADERS, way), hop: reader.hop() };
  reader.end();
  return path;
}

/** Path, signed header and `full` file. Refuses with `bad_list`, `unknown_format`, `too_large`. */
function decodeBundle(raw) {
  checkFile(raw, Infinity);
  const cut = (start, end) => {
    if (end > raw.length) refuse("bad_list", "it is cut off");
    return raw.subarray(start, end);
  };
  const length = viewOf(cut(1, 5)).getUint32(0);
  if (length > MAX_PATH_BYTES) refuse("too_large");
  const path = cut(5, 5 + length);
  const signersEnd = 5 + length + HEADER_BYTES + 4;
  const signers = placesOf(viewOf(cut(signersEnd - 4, signersEnd)).getUint32(0)).length;
  const end = signersEnd + SIGNATURE_BYTES * signers;
  return { path, signedHeader: cut(5 + length, end), full: raw.subarray(end) };
}

/** A hop without a recovery. */
const encodeHop = (sets, hashes) =>
  join([sets.length], ...sets.map(encodeSet), [0, hashes.length], ...hashes);

const EMPTY_HISTORY = { size: 0n, peaks: [] };

/** What the next header is held against; `before`, the history before its own, null if unknown. */
async function startAnchor({ startMs, founders }) {
  const setHash = await setHashOf(founders);
  const sets = new Map([[setHash, founders]]);
  const [epoch, before] = [0n, EMPTY_HISTORY];
  return { epoch, timeMs: startMs, setHash, nextSetHash: setHash, sets, before, header: null };
}

/** A verified header as an anchor; of the sets that are known it keeps those that it names. */
function makeAnchor(header, raw, known, before) {
  const { epoch, validAfterMs: timeMs, successor } = header;
  const [setHash, nextSetHash] = [toHex(header.setHash), toHex(header.nextSetHash)];
  const named = [setHash, nextSetHash].filter((hash) => known.has(hash));
  const sets = new Map(named.map((hash) => [hash, known.get(hash)]));
  return { epoch, timeMs, setHash, nextSetHash, sets, before, header: raw, successor };
}

async function hashSets(sets) {
  return Promise.all(sets.map(async (members) => [await setHashOf(members), members]));
}

const isZero = (hash) => hash.every((byte) => byte === 0);

/** *Checking a hop*: the header at its end as the anchor of the next one. */
async function checkHop(network, anchor, hop, signed, nowMs) {
  const header = decodeHeader(signed.header);
  const isOver = anchor.header && !isZero(anchor.successor);
  if (isOver && header.epoch > anchor.epoch) refuse("succeeded");
  const known = new Map([...anchor.sets, ...(await hashSets(hop.sets))]);
  const members = await checkSet(network, anchor, hop, known, header, signed);
  await checkSignatures(network.genesisHash, signed, members);
  // before all that depends on time: whoever signed two headers is caught at any time
  if (anchor.header && anchor.epoch === header.epoch && !same(anchor.header, signed.header))
    refuse("fork");
  const before = await checkHistory(anchor, hop, header);
  checkTime(header, anchor, network.epochMs, nowMs);
  return makeAnchor(header, signed.header, known, before);
}

/** The members of the set that a header names, if it is its turn. */
async function checkSet(network, anchor, hop, known, header, signed) {
  const setHash = toHex(header.setHash);
  const members = known.get(setHash);
  if (members === undefined) refuse("wrong_set");
  if (anchor.header && header.epoch === anchor.epoch) {
    if (setHash !== anchor.setHash) refuse("wrong_set");
  } else if (setHash === anchor.nextSetHash) {
    return members;
  } else if (hop.recovery !== null) {
    await checkRecovery(network, anchor, hop.recovery, header);
  } else if (!isVouched(known.get(anchor.nextSetHash) ?? [], members, signed)) {
    refuse("wrong_set");
  }
  return members;
}

async function checkRecovery(network, anchor, { begin, tipsHash, signers }, header) {
  if (begin <= anchor.epoch || begin > header.epoch) refuse("bad_path", "another time");
  const keys = signers.map(([key]) => key);
  const areKnown = keys.every((key) => network.recovery.some((other) => same(key, other)));
  if (!areKnown || !ascends(keys, compare)) refuse("bad_path", "not by recovery keys, ascending");
  if (!isFinal(keys.length, network.recovery.length)) refuse("wrong_set");
  // the record `SetOrder`: begin, set hash, tips hash
  const order = join([0x93], encodeNumber(begin), [0xc4, 32], header.setHash, [0xc4, 32], tipsHash);
  await checkEach(join(padded("waypost recovery order"), network.genesisHash, order), signers);
}

/** A number as it stands in a record. */
function encodeNumber(number) {
  const forms = [[0xcc, 1], [0xcd, 2], [0xce, 4], [0xcf, 8]];
  if (number < 128n) return bigEndian(1, number);
  const [head, size] = forms.find(([, bytes]) => number < 1n << BigInt(8 * bytes));
  return join([head], bigEndian(size, number));
}

/** Whether more than two thirds of a set that was trusted are among those who signed a header. */
function isVouched(trusted, members, { signatures }) {
  const weights = new Map(trusted.map(({ listKey, weight }) => [toHex(listKey), weight]));
  const keys = [...signatures.keys()].filter((n) => n < members.length);
  const signers = new Set(keys.map((n) => toHex(members[n].listKey)));
  const sum = (entries) => entries.reduce((total, [, weight]) => total + weight, 0);
  const all = [...weights];
  return isFinal(sum(all.filter(([key]) => signers.has(key))), sum(all));
}

/** The history before a header: that of the anchor, and what came since; null if unknown. */
async function checkHistory(anchor, { hashes }, { epoch, historyRoot: root }) {
  let [start, isStart] = [anchor.before, anchor.header === null];
  if (!isStart && epoch === anchor.epoch) {
    if (!hashes.length) return anchor.before;
    start = EMPTY_HISTORY; // they are its peaks
  } else if (isStart) {
    if (!hashes.length && epoch) return null;
  } else {
    if (start === null) refuse("bad_path", "the history before the header that is held is unknown");
    start = await extendHistory(start, anchor.epoch + 1n, [await leafHash(anchor.header)]);
  }
  const grown = await extendHistory(start, epoch, hashes);
  if (grown === null) refuse("bad_path", "its hashes do not lead there");
  if (!same(await historyRoot(grown), root)) refuse("bad_history");
  return grown;
}

const fingerprintOf = async (genesisHash, header) =>
  toHex((await taggedHash("waypost fingerprint", genesisHash, header)).slice(0, 16));

/** Refuses with `trust_expired`. `passed` are the anchors of a way from `anchor` on. */
async function checkTrust({ genesisHash, trustMs }, anchor, passed, vouched, nowMs) {
  if (trustMs === null) return;
  let sinceMs = anchor.timeMs;
  for (const { header, timeMs } of passed)
    if (vouched.has(await fingerprintOf(genesisHash, header))) sinceMs = timeMs;
  if (nowMs > sinceMs + trustMs) refuse("trust_expired");
}

// ---- What a client believes: docs/spec/client.md ----

const MAX_AHEAD_MS = 300_000n;

/** Refuses with `from_the_future`. */
function checkTime(header, anchor, epochMs, nowMs) {
  const earliest = anchor.timeMs + (header.epoch - anchor.epoch) * epochMs;
  if (header.validAfterMs > nowMs + MAX_AHEAD_MS || header.validAfterMs < earliest)
    refuse("from_the_future");
}

/** Refuses with `list_expired`. */
function checkExpiry(header, nowMs) {
  if (nowMs > header.validUntilMs) refuse("list_expired");
}

const NO_PATH = new Uint8Array(0);

/** Known in here alone, so that nobody makes a client that has not read a genesis file. */
const STARTED = Symbol("started");

/**
 * The newest header that was verified, and its list.
 *
 * What reads refuses with `list_missing` as long as there is nothing, with `fork` after one, and
 * with `list_expired` past the valid-until, unless `allowExpired` was asked for. Calls that take
 * something are carried out one after another, in the order in which they were made.
 */
export class TrustedLists {
  #network;
  #nowMs;
  #allowExpired;
  #vouched = new Set();
  #anchor;
  #header;
  #signed;
  #held; // the newest list that was loaded, maybe of an earlier header
  #evidence;
  #turn = Promise.resolve();

  /** Use `TrustedLists.start`. */
  constructor(started, nowMs, allowExpired) {
    if (started !== STARTED) throw new TypeError("use TrustedLists.start");
    this.#nowMs = BigInt(nowMs);
    this.#allowExpired = allowExpired;
  }

  /**
   * Start from a genesis file at a reference time.
   *
   * Refuses with `too_large`, `not_canonical`, `bad_genesis`, `bad_parameter`, `bad_relation`.
   * @param {Uint8Array} genesis
   * @param {number | bigint} nowMs Unix milliseconds
   * @param {{allowExpired?: boolean}} [options] whether lists past their valid-until are used
   * @returns {Promise<TrustedLists>}
   */
  static async start(genesis, nowMs, { allowExpired = false } = {}) {
    const client = new TrustedLists(STARTED, nowMs, allowExpired);
    await client.#start(copyOf(genesis));
    return client;
  }

  /** Go on at another reference time. @param {number | bigint} nowMs Unix milliseconds */
  startUpdate(nowMs) {
    this.#nowMs = BigInt(nowMs);
  }

  /**
   * Count the trust period from a header with this fingerprint, if one comes: for a word that comes
   * from elsewhere, be it the program's own, a person's, or that of several sources which agree.
   * @param {string} fingerprint 32 hexadecimal digits
   */
  vouch(fingerprint) {
    this.#vouched.add(fingerprint.toLowerCase());
  }

  /**
   * Verify a signed header and take it as the newest.
   *
   * Refuses with `fork`, `bad_header`, `unknown_format`, `roll_back`, `too_large`, `bad_path`,
   * `succeeded`, `wrong_set`, `unknown_attestor`, `not_final`, `bad_signature`, `bad_history`,
   * `from_the_future`, `trust_expired`, `list_expired`.
   * @param {Uint8Array} signedHeader as `application/vnd.waypost.header`
   * @param {Uint8Array} [path] as `application/vnd.waypost.trust`: from the header that is held, or
   *   from genesis; see `wantsPath`
   * @returns {Promise<ListHeader>}
   */
  update(signedHeader, path = NO_PATH) {
    const [raw, way] = [copyOf(signedHeader), copyOf(path)];
    return this.#inTurn((nowMs) => this.#take(raw, way, nowMs));
  }

  /**
   * Whether a signed header cannot be taken without a path, or teaches more with one.
   *
   * Refuses with `bad_header`, `unknown_format`.
   * @param {Uint8Array} signedHeader
   */
  wantsPath(signedHeader) {
    const { epoch, setHash } = decodeHeader(decodeSignedHeader(copyOf(signedHeader)).header);
    const anchor = this.#anchor;
    if (this.#header === null || anchor.before === null) return true;
    const isKnown = toHex(setHash) === anchor.nextSetHash && anchor.sets.has(anchor.nextSetHash);
    return epoch > anchor.epoch && !(epoch === anchor.epoch + 1n && isKnown);
  }

  /**
   * Take the history before the header that is held, from the path that leads to itself: a newer one
   * is taken only by who knows it.
   *
   * Refuses with `list_missing`, `too_large`, `unknown_format`, `bad_path`, `bad_history`.
   * @param {Uint8Array} path
   * @returns {Promise<void>}
   */
  learnHistory(path) {
    const raw = copyOf(path);
    return this.#inTurn(() => this.#learnHistory(raw));
  }

  /**
   * Go on from the `anchorFile` that was kept before this program ended. It may have expired.
   *
   * Refuses with `bad_path`, `unknown_format`, `bad_header`, `wrong_set`, `unknown_attestor`,
   * `not_final`, `bad_signature`, `bad_history`, `from_the_future`.
   * @param {Uint8Array} anchorFile
   * @returns {Promise<ListHeader>}
   */
  resume(anchorFile) {
    const raw = copyOf(anchorFile);
    return this.#inTurn((nowMs) => this.#resume(raw, nowMs));
  }

  /**
   * Go on with the network that the newest header names as its successor, from its start.
   *
   * Refuses with `fork`, `list_missing`, `wrong_successor`, and like `start`.
   * @param {Uint8Array} genesis
   * @returns {Promise<void>}
   */
  succeed(genesis) {
    const raw = copyOf(genesis);
    return this.#inTurn(async () => {
      this.#checkNotStopped();
      if (this.#header === null) refuse("list_missing");
      if (!same(await sha256(raw), this.#header.successor)) refuse("wrong_successor");
      await this.#start(raw);
    });
  }

  /**
   * Take a `full` file as the list of the newest header.
   *
   * Refuses with `too_large`, `unknown_format`, `bad_list`, and like all that reads.
   * @param {Uint8Array} data as `application/vnd.waypost.full`
   * @returns {Promise<void>}
   */
  loadFull(data) {
    const raw = copyOf(data);
    return this.#inTurn((nowMs) => this.#loadFull(raw, nowMs));
  }

  /**
   * Take path, header and list of a `bundle` file. It leads from genesis, so it is for who holds no
   * header yet. Refuses with `bad_list`, `unknown_format`, `too_large`, and like `update` and
   * `loadFull`.
   * @param {Uint8Array} data as `application/vnd.waypost.bundle`
   * @returns {Promise<ListHeader>}
   */
  loadBundle(data) {
    const raw = copyOf(data);
    return this.#inTurn(async (nowMs) => {
      const { path, signedHeader, full } = decodeBundle(raw);
      const header = await this.#take(signedHeader, path, nowMs);
      await this.#loadFull(full, nowMs);
      return header;
    });
  }

  /**
   * Take `delta` files that lead from the list that is held, of `listEpoch`, to the newest one.
   *
   * Refuses with `list_missing` if none is held, with `too_large`, `unknown_format`, `bad_list`,
   * and like all that reads. What is held stays then, for files from another source.
   * @param {...Uint8Array} files as `application/vnd.waypost.delta`
   * @returns {Promise<void>}
   */
  loadDeltas(...files) {
    const raws = files.map(copyOf);
    return this.#inTurn(async (nowMs) => {
      const header = this.#readableHeader(nowMs);
      if (this.#held === null || !raws.length) refuse("list_missing");
      let columns = this.#held.columns;
      // what lies in between is not signed for: the last list has to be right
      for (const raw of raws.slice(0, -1)) columns = await applyDelta(columns, raw, LARGEST);
      this.#holdList(header, await applyDelta(columns, raws.at(-1), header));
    });
  }

  /**
   * The nodes of the swarm that serves an account, by ascending key, of a `slice`, whose header is
   * verified and taken as the newest one.
   *
   * Refuses like `update`, with `too_large`, and with `bad_list` what does not prove that swarm.
   * @param {Uint8Array} data as `application/vnd.waypost.slice`
   * @param {Uint8Array} accountId 33 bytes, or 32 without its prefix
   * @param {Uint8Array} [path] as for `update`
   * @returns {Promise<Entry[]>}
   */
  readSlice(data, accountId, path = NO_PATH) {
    const [raw, account, way] = [copyOf(data), copyOf(accountId), copyOf(path)];
    checkAccountId(account);
    return this.#inTurn(async (nowMs) => {
      const parts = decodeSlice(raw);
      return openSlice(parts, await this.#take(parts.signedHeader, way, nowMs), account);
    });
  }

  /** SHA-256 of the genesis file. @returns {Uint8Array} */
  get genesisHash() {
    return this.#network.genesisHash.slice();
  }

  /** The newest verified header, also when it has expired, or null. @returns {ListHeader | null} */
  get header() {
    return this.#header && structuredClone(this.#header);
  }

  /** That header with every signature that was verified, as `update` takes it, or null. */
  get signedHeader() {
    return this.#signed && encodeSignedHeader(this.#signed);
  }

  /** What to go on from after a restart, for `resume`, or null. @returns {Uint8Array | null} */
  get anchorFile() {
    if (this.#header === null) return null;
    const { sets, before } = this.#anchor;
    return join([1], this.signedHeader, encodeHop([...sets.values()], before?.peaks ?? []));
  }

  /** Hash of the genesis file that continues this network, or null. @returns {Uint8Array | null} */
  get successor() {
    const isLast = this.#header !== null && !isZero(this.#header.successor);
    return isLast ? this.#header.successor.slice() : null;
  }

  /** Two signed headers of one epoch, both final, if there was a fork; else null. */
  get evidence() {
    return this.#evidence && this.#evidence.map((raw) => raw.slice());
  }

  /** Whether there is a header whose list was not loaded. @returns {boolean} */
  get needsList() {
    return this.#header !== null && !this.#isCurrent();
  }

  /** Epoch of the newest list that was loaded, where a delta has to begin; null if none. */
  get listEpoch() {
    return this.#held && this.#held.epoch;
  }

  /** "fresh", "degraded" past the header's fresh-until, "expired" past its valid-until, or null. */
  get status() {
    if (this.#header === null) return null;
    if (this.#nowMs > this.#header.validUntilMs) return "expired";
    return this.#nowMs > this.#header.freshUntilMs ? "degraded" : "fresh";
  }

  /** Who signed that header, in number and by weight, of how many and how much; or null. */
  get signers() {
    if (this.#header === null) return null;
    const members = this.#anchor.sets.get(this.#anchor.setHash);
    const signed = [...this.#signed.signatures.keys()].map((index) => members[index]);
    const [weight, total] = [weightOf(signed), weightOf(members)];
    return { signed: signed.length, seats: members.length, weight, total };
  }

  /** Whether one attestor alone can sign lists; to be said wherever lists are shown. */
  get isSingleSigner() {
    const members = this.#anchor.sets.get(this.#anchor.setHash);
    return members.some(({ weight }) => isFinal(weight, weightOf(members)));
  }

  /** The nodes of the newest header's list, by ascending key. @returns {Entry[]} */
  get entries() {
    return makeEntries(this.#readableColumns());
  }

  /** The swarms of that list, ascending. @returns {bigint[]} */
  get swarmIds() {
    return [...this.#readableColumns().swarmIds];
  }

  /**
   * The nodes of the swarm that serves an account, by ascending key; none if there are none.
   * @param {Uint8Array} accountId 33 bytes, or 32 without its prefix
   * @returns {Entry[]}
   */
  swarmOf(accountId) {
    checkAccountId(accountId);
    const columns = this.#readableColumns();
    const swarmId = nearestSwarm(columns.swarmIds, positionOf(accountId));
    return makeEntries(columns, columns.swarmIds.indexOf(swarmId));
  }

  /** The 16 bytes that two people compare, as hexadecimal here. @returns {Promise<string>} */
  async fingerprint() {
    if (this.#header === null) refuse("list_missing");
    return fingerprintOf(this.#network.genesisHash, this.#signed.header);
  }

  // ---- What verifies, and what may be read ----

  /**
   * Two calls must not be checked against the same header and then both be taken. The reference
   * time is that of the call, whenever its turn comes.
   */
  #inTurn(work) {
    const nowMs = this.#nowMs;
    const result = this.#turn.then(() => work(nowMs));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #start(genesis) {
    const network = await readNetwork(genesis);
    this.#anchor = await startAnchor(network);
    this.#network = network;
    this.#header = this.#signed = this.#held = this.#evidence = null;
  }

  async #take(raw, path, nowMs) {
    this.#checkNotStopped();
    const signed = decodeSignedHeader(raw);
    const header = decodeHeader(signed.header);
    if (header.epoch < this.#anchor.epoch) refuse("roll_back");
    const anchor = await this.#follow(decodePath(path), header, signed, nowMs);
    // the last header leads on however old it is
    if (!this.#allowExpired && isZero(header.successor)) checkExpiry(header, nowMs);
    this.#holdHeader(header, signed, anchor);
    return structuredClone(header);
  }

  async #learnHistory(raw) {
    if (this.#header === null) refuse("list_missing");
    const { hop } = decodePath(raw);
    const before = await checkHistory({ ...this.#anchor }, hop, this.#header);
    this.#anchor = { ...this.#anchor, before };
  }

  /** Check all hops of a path, the last one to a signed header, and return that as an anchor. */
  async #follow({ ways, hop }, header, signed, nowMs) {
    let anchor = this.#anchor;
    const passed = [];
    for (const way of ways) {
      const between = decodeSignedHeader(way.signedHeader);
      const { epoch } = decodeHeader(between.header);
      if (epoch >= header.epoch || (anchor.header && epoch <= anchor.epoch))
        refuse("bad_path", "the epochs of its headers do not ascend");
      anchor = await checkHop(this.#network, anchor, way.hop, between, nowMs);
      passed.push(anchor);
    }
    try {
      passed.push(await checkHop(this.#network, anchor, hop, signed, nowMs));
    } catch (error) {
      if (error.code === "fork")
        this.#evidence = [encodeSignedHeader(this.#signed), encodeSignedHeader(signed)];
      throw error;
    }
    if (this.#header === null || header.epoch > this.#anchor.epoch)
      await checkTrust(this.#network, this.#anchor, passed, this.#vouched, nowMs);
    return passed.at(-1);
  }

  async #loadFull(raw, nowMs) {
    const header = this.#readableHeader(nowMs);
    this.#holdList(header, await decodeFull(raw, header));
  }

  async #resume(raw, nowMs) {
    const reader = new PathReader(raw);
    const [signedHeader, hop] = [reader.signedHeader(), reader.hop()];
    reader.end();
    const signed = decodeSignedHeader(signedHeader);
    const header = decodeHeader(signed.header);
    const known = new Map(await hashSets(hop.sets));
    const members = known.get(toHex(header.setHash));
    if (members === undefined) refuse("wrong_set");
    await checkSignatures(this.#network.genesisHash, signed, members);
    const anchor = makeAnchor(header, signed.header, known, header.epoch ? null : EMPTY_HISTORY);
    anchor.before = await checkHistory(anchor, hop, header);
    checkTime(header, await startAnchor(this.#network), this.#network.epochMs, nowMs);
    this.#holdHeader(header, signed, anchor);
    return structuredClone(header);
  }

  #holdHeader(header, signed, anchor) {
    this.#anchor = anchor;
    if (this.#signed !== null && same(this.#signed.header, signed.header)) {
      const known = new Map([...signed.signatures, ...this.#signed.signatures]);
      this.#signed = { header: signed.header, signatures: known };
      return;
    }
    if (this.#held !== null && same(this.#held.listHash, header.listHash))
      this.#held.epoch = header.epoch;
    [this.#header, this.#signed] = [header, signed];
  }

  #holdList(header, columns) {
    const { nodeCount, swarmIds } = columns;
    if (nodeCount !== header.nodeCount || swarmIds.length !== header.swarmCount)
      refuse("bad_list", "it has not as many nodes and swarms as its header says");
    this.#held = { epoch: header.epoch, listHash: header.listHash, columns };
  }

  #isCurrent() {
    return this.#held !== null && same(this.#held.listHash, this.#header.listHash);
  }

  #checkNotStopped() {
    if (this.#evidence !== null) refuse("fork");
  }

  #readableHeader(nowMs = this.#nowMs) {
    this.#checkNotStopped();
    if (this.#header === null) refuse("list_missing");
    if (!this.#allowExpired) checkExpiry(this.#header, nowMs);
    return this.#header;
  }

  #readableColumns() {
    this.#readableHeader();
    if (!this.#isCurrent()) refuse("list_missing");
    return this.#held.columns;
  }
}
