// Small plots of the last 24 hours, each with its figures as a table for those who read or listen.

import { byId, h, plural, replaced, span, svg, words } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 84;
const HOURS = 24;
const STEP = WIDTH / HOURS;

export function showTrends(trends) {
  const hours = Array.from({ length: HOURS }, (_, n) => new Date(Date.parse(trends.since) + n * 3_600_000));
  const { since, models, failures: failed } = trends;
  replaced(byId("ended"), [since, trends.finished, trends.failed, trends.median_seconds], () => ended(trends, hours));
  replaced(byId("speed"), [since, models], () => speed(models, hours));
  replaced(byId("failures"), failed, () => [failures(failed)]);
}

function ended({ finished, failed, median_seconds: median }, hours) {
  const all = sum(finished);
  if (!all) return [h("p", { class: "empty" }, "No job has ended in the last 24 hours.")];
  const most = Math.max(...finished, 1);
  const bars = finished.flatMap((count, n) => {
    const total = (count / most) * (HEIGHT - 14);
    const bad = (Math.min(failed[n], count) / most) * (HEIGHT - 14);
    return [bar(n, HEIGHT - total, total - bad, "good"), bar(n, HEIGHT - bad, bad, "bad")];
  });
  const title = `Ended jobs of the last 24 hours: ${all}, of them ${sum(failed)} failed, at most ${most} in an hour.`;
  return [
    picture(title, [top(most), ...bars]),
    axis(hours),
    h("p", { class: "legend" }, key("good", `${sum(finished) - sum(failed)} went well or were cancelled`), key("bad", `${sum(failed)} failed`),
      median === null ? "" : h("span", {}, `half of them within ${span(median * 1000)}`)),
    figures("Ended jobs", ["Hour", "Ended", "Failed"], hours.map((hour, n) => [hourName(hour), finished[n], failed[n]])),
  ];
}

function speed(models, hours) {
  if (!models.length) return [h("p", { class: "empty" }, "No model has written anything in the last 24 hours. The next job that ends shows its speed here.")];
  const most = Math.max(...models.flatMap((model) => model.speeds.filter((value) => value !== null)), 1);
  const lines = models.flatMap((model, n) => line(model.speeds, most, `series-${n}`));
  const lasts = models.map((model) => [model.model, model.speeds.findLast((value) => value !== null)]);
  const title = `Median tokens per second of the last 24 hours. ${lasts.map(([name, last]) => `${name}: ${last} at last.`).join(" ")}`;
  return [
    picture(title, [top(most), ...lines]),
    axis(hours),
    h("p", { class: "legend" }, lasts.map(([name, last], n) => key(`series-${n}`, `${name} ${last}/s`))),
    figures("Tokens per second", ["Hour", ...models.map((model) => model.model)],
      hours.map((hour, n) => [hourName(hour), ...models.map((model) => model.speeds[n] ?? "–")])),
  ];
}

// A line that is broken where nothing was measured; a lone figure is a dot.
function line(values, most, name) {
  const runs = [];
  values.forEach((value, n) => {
    if (value === null) return;
    const point = [(n + 0.5) * STEP, HEIGHT - (value / most) * (HEIGHT - 14)];
    if (values[n - 1] === null || values[n - 1] === undefined) runs.push([]);
    runs.at(-1).push(point);
  });
  return runs.flatMap((points) => [
    svg("polyline", { class: `line ${name}`, points: points.map((point) => point.map(round).join(",")).join(" ") }),
    ...points.map(([x, y]) => svg("circle", { class: `spot ${name}`, cx: round(x), cy: round(y), r: points.length === 1 ? 3 : 1.8 })),
  ]);
}

function failures(found) {
  if (!found.length) return h("p", { class: "empty" }, "Nothing failed in the last 24 hours.");
  const most = Math.max(...found.map((failure) => failure.jobs));
  return h("ul", { class: "failures" }, found.map((failure) => h("li", {},
    h("span", { class: "code" }, failure.code), failure.cause ? h("span", { class: "faint small" }, ` ${words(failure.cause)}`) : null,
    svg("svg", { class: "share", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "bad", width: round((failure.jobs / most) * 100), height: 6, rx: 1 })),
    h("span", { class: "small" }, plural(failure.jobs, "job"), ", ", h("a", { href: `#job/${failure.last_job}` }, "the last one")))));
}

const picture = (title, children) => svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title },
  svg("path", { class: "base", d: `M0 ${HEIGHT - 0.5}H${WIDTH}M0 13.5H${WIDTH}` }), children);

const top = (most) => svg("text", { class: "tick", x: 0, y: 10 }, round(most));

const bar = (n, y, height, name) => svg("rect", { class: name, x: round(n * STEP + 1), y: round(y), width: round(STEP - 2), height: round(Math.max(height, 0)) });

const axis = (hours) => h("p", { class: "axis faint", "aria-hidden": "true" }, h("span", {}, hourName(hours[0])), h("span", {}, hourName(hours[12])), h("span", {}, "now"));

const key = (name, text) => h("span", {}, svg("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { class: `fill ${name}`, width: 10, height: 10, rx: 2 })), text);

function figures(name, heads, rows) {
  return h("details", { class: "figures" }, h("summary", {}, "As a table"),
    h("table", { "aria-label": name }, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((cell) => h("td", {}, String(cell))))))));
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const round = (value) => Math.round(value * 10) / 10;
const hourName = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
