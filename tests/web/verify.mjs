/**
 * Runs the vectors of tests/vectors through a verifier: in Node and in a page alike.
 *
 * `run` gives what came of each case. What has to come of it is compared by
 * tests/web/test_verifier.py, so that nothing can pass here by not running.
 */

/**
 * @param {object} client the module
 * @param {object} files the texts of vectors by their names, and what else they need
 */
export async function run(client, files) {
  const inflated = watchInflating();
  const results = {};
  for (const [name, text] of Object.entries(files.vectors))
    results[name] = await RUNNERS[name](client, JSON.parse(text), files, inflated);
  return { results, inflated: inflated.most };
}

const RUNNERS = {
  "verify.json": (...given) => runScripts(...given),
  "trust.json": (...given) => runTrust(...given),
  "list_header.json": (...given) => runExample(...given),
  "delta.json": (...given) => runDeltas(...given),
  "slice.json": (...given) => runSlices(...given),
};

const STOP_BYTES = 2 ** 27;

/** Count what is inflated, in this step and at most in any, since a bound shows in nothing else. */
function watchInflating() {
  const [Real, seen] = [DecompressionStream, { now: 0, most: 0 }];
  globalThis.DecompressionStream = class {
    constructor(format) {
      const inner = new Real(format);
      this.writable = inner.writable;
      this.readable = inner.readable.pipeThrough(new TransformStream({ transform }));
    }
  };
  function transform(chunk, control) {
    seen.now += chunk.length;
    seen.most = Math.max(seen.most, seen.now);
    if (seen.now > STOP_BYTES) throw new Error("nobody stops this");
    control.enqueue(chunk);
  }
  return seen;
}

// ---- verify.json ----

const nameBytes = (client, { bytes }) =>
  new Map(Object.entries(bytes).map(([name, text]) => [name, client.fromHex(text)]));

async function runScripts(client, file, _files, inflated) {
  const [named, { beginnings, classes }] = [nameBytes(client, file), file];
  const results = [];
  for (const { class: name, cases } of classes)
    for (const { title, begin, steps } of cases) {
      const all = [...(begin ? beginnings[begin] : []), ...steps];
      results.push([name, title, await runCase(client, named, all, inflated)]);
    }
  return results;
}

async function runCase(client, named, steps, inflated) {
  const answers = [];
  let lists = null;
  for (const step of steps) {
    let answer;
    inflated.now = 0;
    try {
      answer = {};
      if (step.do === "start") lists = await start(client, named, step);
      else answer = await CALLS[step.do](lists, readStep(client, named, step));
    } catch (error) {
      if (!(error instanceof client.Refusal)) throw error;
      answer = { refused: error.code };
    }
    answers.push({ ...answer, held: await held(lists) });
  }
  return answers;
}

const start = (client, named, { genesis, now_ms, allow_expired: allowExpired = false }) =>
  client.TrustedLists.start(readBytes(client, named, genesis), now_ms, { allowExpired });

const nodes = (entries) => ({ nodes: entries.map(({ key }) => key) });
const status = (lists) => ({ status: lists.status });

const CALLS = {
  start_update: (lists, { now_ms }) => (lists.startUpdate(now_ms), {}),
  vouch: (lists, { fingerprint }) => (lists.vouch(fingerprint), {}),
  update: async (lists, { header, path }) => (await lists.update(header, path), status(lists)),
  learn_history: async (lists, { path }) => (await lists.learnHistory(path), {}),
  resume: async (lists, { anchor }) => (await lists.resume(anchor), status(lists)),
  succeed: async (lists, { genesis }) => (await lists.succeed(genesis), {}),
  load_full: async (lists, { file }) => (await lists.loadFull(file), {}),
  load_deltas: async (lists, { files }) => (await lists.loadDeltas(...files), {}),
  read_slice: async (lists, { file, account, path }) =>
    nodes(await lists.readSlice(file, account, path)),
  swarm_of: async (lists, { account }) => nodes(lists.swarmOf(account)),
  entries: async (lists) => ({ entries: lists.entries.map(describe) }),
};

function readStep(client, named, step) {
  const read = (written) => readBytes(client, named, written);
  const values = { ...step };
  for (const field of ["genesis", "header", "path", "file", "account", "anchor"])
    if (field in step) values[field] = read(step[field]);
  if ("files" in step) values.files = step.files.map(read);
  if ("fingerprint" in step) values.fingerprint = client.toHex(read(step.fingerprint));
  return values;
}

function readBytes(client, named, written) {
  if (typeof written === "string") return named.get(written);
  const pieces = written.map((piece) => {
    if (typeof piece === "string") return client.fromHex(piece);
    if (piece.length === 3) return named.get(piece[0]).subarray(piece[1], piece[2]);
    return repeat(client.fromHex(piece[0]), piece[1]);
  });
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function repeat(piece, times) {
  const whole = new Uint8Array(piece.length * times);
  if (piece.length === 1) return whole.fill(piece[0]);
  for (let n = 0; n < times; n++) whole.set(piece, n * piece.length);
  return whole;
}

function describe(entry) {
  return {
    key: entry.key,
    ipv4: entry.ipv4,
    ipv6: entry.ipv6,
    storage_port: entry.storagePort,
    router_port: entry.routerPort,
    storage_version: entry.storageVersion,
    router_version: entry.routerVersion,
    swarm_id: String(entry.swarmId),
  };
}

async function held(lists) {
  if (lists === null || lists.header === null) return null;
  const digest = await crypto.subtle.digest("SHA-256", lists.anchorFile);
  return {
    epoch: Number(lists.header.epoch),
    anchor: hex(new Uint8Array(digest)).slice(0, 8),
    list: lists.listEpoch === null ? null : Number(lists.listEpoch),
    wants: lists.needsList,
    forked: lists.evidence !== null,
  };
}

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

// ---- The golden vectors ----

async function runExample(client, example) {
  const lists = await client.TrustedLists.start(
    client.fromHex(example.genesis),
    example.header_fields.valid_after_ms,
  );
  const header = await lists.update(client.fromHex(example.signed_header));
  await lists.loadFull(client.fromHex(example.full));
  const shown = Object.entries(header).map(([name, value]) => [
    name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    value instanceof Uint8Array ? hex(value) : Number(value),
  ]);
  return {
    genesis_hash: hex(lists.genesisHash),
    header_fields: Object.fromEntries(shown),
    signed_header: hex(lists.signedHeader),
    fingerprint_bits: await lists.fingerprint(),
    entries: lists.entries.map(describe),
  };
}

async function runTrust(client, file, files, inflated) {
  const named = nameBytes(client, file);
  const bundles = [];
  for (const { title, genesis, now_ms, bundle } of file.bundles) {
    const lists = await client.TrustedLists.start(readBytes(client, named, genesis), now_ms);
    const read = async () => {
      const { epoch } = await lists.loadBundle(readBytes(client, named, bundle));
      const keys = lists.entries.map(({ key }) => key);
      return { epoch: Number(epoch), anchor: hex(lists.anchorFile), nodes: keys };
    };
    bundles.push([title, await outcome(client, read)]);
  }
  const histories = [];
  for (const { size, peaks, roots, extended_size: stop } of file.histories) {
    const history = { size: BigInt(size), peaks: peaks.map(client.fromHex) };
    const grown = await client.extendHistory(history, BigInt(stop), roots.map(client.fromHex));
    histories.push([grown.peaks.map(hex), hex(await client.historyRoot(grown))]);
  }
  return [...(await runScripts(client, file, files, inflated)), ...bundles, ...histories];
}

/** What came out of a call: its value, or the code of its refusal. */
async function outcome(client, call) {
  try {
    return await call();
  } catch (error) {
    if (error instanceof client.Refusal) return error.code;
    throw error;
  }
}

async function runDeltas(client, { before, deltas, refused_after, refused }) {
  const old = client.readColumns(client.fromHex(before));
  const apply = (delta, after) =>
    outcome(client, async () => {
      const raw = client.fromHex(after);
      const listHash = new Uint8Array(await crypto.subtle.digest("SHA-256", raw));
      const { nodeCount, swarmIds } = client.readColumns(raw);
      const named = { listHash, nodeCount, swarmCount: swarmIds.length };
      const columns = await client.applyDelta(old, client.fromHex(delta), named);
      return hex(client.joinColumns(columns));
    });
  const results = [];
  for (const { title, delta, columns: after } of deltas)
    results.push([title, await apply(delta, after)]);
  for (const { title, delta } of refused) results.push([title, await apply(delta, refused_after)]);
  return results;
}

async function runSlices(client, { slices, account, place, refused }, { genesis, now_ms: nowMs }) {
  const read = (slice) =>
    outcome(client, async () => {
      const lists = await client.TrustedLists.start(client.fromHex(genesis), nowMs);
      const found = await lists.readSlice(client.fromHex(slice), client.fromHex(account));
      return found.map(({ key }) => key);
    });
  const results = [["", await read(slices[place].slice)]];
  for (const { title, slice } of refused) results.push([title, await read(slice)]);
  return results;
}
