/**
 * Draws the history of a node from the table that stands on its page: verdicts and rewards.
 * Who sees no drawing, or has no program run, has the table.
 */

const HEIGHT = 170;
const UNITS = 1e9;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function read() {
  const rows = [...document.querySelectorAll("#history tbody tr[data-epoch]")];
  return {
    epochs: rows.map((row) => Number(row.dataset.epoch)),
    verdicts: rows.map((row) => ({ passed: 1, failed: -1 })[row.dataset.verdict] ?? null),
    rewards: rows.map(({ dataset: { reward } }) => (reward === "" ? null : Number(reward) / UNITS)),
  };
}

function axes() {
  const line = { stroke: colour("--line"), width: 1 };
  const common = { stroke: colour("--soft"), grid: line, ticks: line };
  const whole = (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? String(tick) : ""));
  return [{ ...common, values: whole }, { ...common, size: 76 }];
}

function options(box, rest) {
  return {
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, range: (_, low, high) => [low - 0.7, high + 0.7] }, y: rest.y },
    axes: axes().map((axis, n) => (n ? { ...axis, ...rest.axis } : axis)),
    series: [{}, ...rest.series],
  };
}

/** Bars in the colour of that name. */
function series(name) {
  const paths = uPlot.paths.bars({ size: [0.7, 24] });
  return { stroke: colour(name), fill: colour(name), paths, points: { show: false } };
}

/** Passed up in one colour, failed down in the other. */
function drawVerdicts(box, { epochs, verdicts }) {
  const half = (sign) => verdicts.map((value) => (value === sign ? value : null));
  const words = { 1: "passed", "-1": "failed" };
  const say = (_, ticks) => ticks.map((tick) => words[tick] ?? "");
  const rest = {
    y: { range: [-1.2, 1.2] },
    axis: { splits: () => [-1, 0, 1], values: say },
    series: [series("--good"), series("--bad")],
  };
  return new uPlot(options(box, rest), [epochs, half(1), half(-1)], box);
}

function drawRewards(box, { epochs, rewards }) {
  const rest = {
    y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] },
    axis: { values: (_, ticks) => ticks.map((tick) => String(Number(tick.toPrecision(6)))) },
    series: [series("--accent")],
  };
  return new uPlot(options(box, rest), [epochs, rewards], box);
}

const DRAWN = { verdicts: drawVerdicts, rewards: drawRewards };
let [plots, shown] = [[], ""];

function draw(isForced) {
  const history = read();
  const key = JSON.stringify(history);
  if (!history.epochs.length || (key === shown && !isForced)) return;
  shown = key;
  for (const plot of plots) plot.destroy();
  const boxes = [...document.querySelectorAll("[data-plot]")];
  plots = boxes.map((box) => DRAWN[box.dataset.plot](box, history));
}

draw(false);
document.addEventListener("waypost:shown", () => draw(false));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) draw(true);
  width = innerWidth;
});
