/** behaviour.mjs MODULE FILES: what vectors cannot show of the module, in Node. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [module, files] = process.argv.slice(2);
const { Refusal, TrustedLists, fromHex, readEpoch, toHex } = await import(pathToFileURL(module));
const given = JSON.parse(readFileSync(files, "utf8"));
const bytes = (name) => fromHex(given[name]);
const start = () => TrustedLists.start(bytes("genesis"), given.now_ms);
const refused = (code) => (error) => error instanceof Refusal && error.code === code;

const CASES = {
  async "calls are carried out in the order in which they are made"() {
    const lists = await start();
    const newer = lists.update(bytes("newer"), bytes("path to newer"));
    await assert.rejects(lists.update(bytes("older")), refused("roll_back"));
    assert.equal((await newer).epoch, readEpoch(bytes("newer")));
  },
  async "a call that is refused does not hold up the next"() {
    const lists = await start();
    const first = lists.update(bytes("older").fill(0, 350, 360));
    const second = lists.update(bytes("older"));
    await assert.rejects(first, refused("bad_signature"));
    assert.equal((await second).epoch, lists.header.epoch);
  },
  async "the reference time is that of the call"() {
    const lists = await start();
    const taken = lists.update(bytes("older"));
    lists.startUpdate(0);
    await taken;
    await assert.rejects(lists.update(bytes("newer"), bytes("path")), Refusal);
  },
  async "bytes that change after the call change nothing"() {
    const lists = await start();
    const [header, full] = [bytes("older"), bytes("full")];
    const taken = [lists.update(header), lists.loadFull(full)];
    header.fill(0);
    full.fill(0);
    await Promise.all(taken);
    assert.equal(toHex(lists.signedHeader), given.older);
  },
  async "what a caller gets is the caller's"() {
    const lists = await start();
    (await lists.update(bytes("older"))).listHash.fill(0);
    await lists.loadFull(bytes("full"));
    lists.header.listHash.fill(0);
    lists.genesisHash.fill(0);
    lists.signedHeader.fill(0);
    lists.anchorFile.fill(0);
    lists.swarmIds.pop();
    lists.entries.pop();
    assert.throws(() => (lists.entries[0].key = ""), TypeError);
    assert.equal(lists.entries.length, lists.header.nodeCount);
    assert.equal(lists.swarmIds.length, lists.header.swarmCount);
    assert.equal(lists.needsList, false);
    assert.equal(toHex(lists.signedHeader), given.older);
  },
  async "what it tells before there is anything"() {
    const lists = await start();
    for (const name of ["header", "signedHeader", "anchorFile", "evidence", "listEpoch", "status"])
      assert.equal(lists[name], null);
    for (const name of ["signers", "successor"]) assert.equal(lists[name], null);
    assert.equal(lists.isSingleSigner, false);
    assert.equal(lists.needsList, false);
    assert.equal(lists.wantsPath(bytes("older")), true);
    await assert.rejects(lists.fingerprint(), refused("list_missing"));
  },
  async "who signed, and what a path is wanted for"() {
    const lists = await start();
    await lists.update(bytes("older"), bytes("path"));
    assert.deepEqual(lists.signers, { signed: 3, seats: 4, weight: 3, total: 4 });
    assert.equal(lists.wantsPath(bytes("older")), false);
    assert.equal(lists.wantsPath(bytes("newer")), false);
    assert.equal(lists.wantsPath(bytes("latest")), true);
    assert.equal(lists.successor, null);
  },
  async "misuse is no refusal"() {
    const lists = await start();
    const misuse = (error) => error instanceof TypeError && !(error instanceof Refusal);
    assert.throws(() => new TrustedLists(bytes("genesis"), 0), misuse);
    assert.throws(() => lists.update("00"), misuse);
    assert.throws(() => lists.update(new ArrayBuffer(4)), misuse);
    assert.throws(() => lists.readSlice(new Uint8Array(1), new Uint8Array(31)), misuse);
    assert.throws(() => lists.swarmOf(new Uint8Array(34)), misuse);
    assert.throws(() => fromHex("0"), misuse);
    assert.throws(() => fromHex("0g"), misuse);
  },
};

for (const [title, check] of Object.entries(CASES)) {
  await check();
  console.log(title);
}
