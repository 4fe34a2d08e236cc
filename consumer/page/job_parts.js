// The parts of one job's sheet. Each gives null when there is nothing to show, or {of, make}: what it shows, and how.

import { clock, h, plural, span, svg, words } from "./dom.js";

const OUTCOMES = {
  completed: ["ok", "completed"],
  failed: ["bad", "failed"],
  retry: ["warn", "to be tried again"],
  released: ["off", "handed back"],
  cancelled: ["off", "cancelled"],
  rescued: ["warn", "its worker fell silent"],
};
const PHASES = ["analyze", "node_selection", "workflow_generation", "node_configuration", "validation"];
const BAR = 400;

export function errorPart({ error, history }) {
  if (!error && !history.length) return null;
  return { of: [error, history], make: () => [
    error && h("h3", {}, "What went wrong"),
    error && h("div", { class: "error" },
      h("p", {}, h("span", { class: "code" }, error.code), error.cause && h("span", { class: "faint" }, ` because of ${error.cause}`),
        error.phase && h("span", { class: "faint" }, ` in ${words(error.phase)}`)),
      h("p", {}, error.message), h("p", {}, h("strong", {}, "What to do: "), error.advice)),
    history.length ? h("h3", {}, "Attempts before") : null,
    history.length ? h("ul", { class: "plain" }, history.map((each) => h("li", {},
      `${each.attempt}: `, h("span", { class: "code" }, each.code ?? "?"), ` ${each.message ?? ""} `,
      each.at && h("span", { class: "faint" }, clock(each.at))))) : null,
  ].filter(Boolean) };
}

export function previewPart({ status, preview }) {
  if (status !== "processing" || !preview.length) return null;
  return { of: preview, make: () => [h("h3", {}, `Nodes so far: ${preview.length}`), h("ol", { class: "nodes" }, preview.map((name) => h("li", {}, name)))] };
}

export function timelinePart({ timeline, now }) {
  const took = (each) => Date.parse(each.to) - Date.parse(each.from);
  const longest = Math.max(1, ...timeline.filter((each) => each.kind === "attempt").map(took));
  return { of: [timeline, now && timeline.some((each) => !each.outcome) ? now : 0], make: () => [h("h3", {}, "Time line"),
    h("ol", { class: "timeline" }, timeline.map((each) => h("li", { class: each.kind }, each.kind === "wait"
      ? h("p", { class: "faint" }, `Waited ${span(took(each))}, from ${clock(each.from)}`)
      : attempt(each, took(each), longest, took))))] };
}

function attempt(each, length, longest, took) {
  const [kind, label] = OUTCOMES[each.outcome] ?? ["busy", "in work"];
  const begin = Date.parse(each.from);
  const wide = (ms) => Math.round((ms / longest) * BAR * 10) / 10;
  return [
    h("p", {}, h("strong", {}, `Attempt ${each.attempt}`), ` on ${each.worker ?? "?"} `, h("span", { class: `pill ${kind}` }, label),
      each.code && h("span", { class: "code" }, each.code), h("span", { class: "faint" }, ` ${span(length)}, from ${clock(each.from)}`)),
    svg("svg", { class: "bar", viewBox: `0 0 ${BAR} 12`, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "rail", width: BAR, height: 12, rx: 2 }),
      each.phases.map((phase) => svg("rect", { class: phaseClass(phase.phase), x: wide(Date.parse(phase.from) - begin),
        width: Math.max(1, wide(took(phase))), height: 12 }))),
    h("ul", { class: "legend" }, each.phases.map((phase) => h("li", {},
      svg("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { class: phaseClass(phase.phase), width: 10, height: 10, rx: 2 })),
      `${words(phase.phase)} ${span(took(phase))}`))),
  ];
}

const phaseClass = (phase) => `phase-${PHASES.indexOf(phase)}`;

export function mendedPart({ violations, repairs }) {
  if (!violations.length && !repairs.length) return null;
  return { of: [violations, repairs], make: () => [
    violations.length ? h("h3", {}, `${plural(violations.length, "broken rule")}`) : null,
    violations.length ? table("Broken rules", ["Rule", "Where", "What is wrong", "What would fix it"],
      violations.map((each) => [h("span", { class: "code" }, each.code), each.pointer || "/", each.message, each.fix])) : null,
    repairs.length ? h("h3", {}, `${plural(repairs.length, "repair")}`) : null,
    repairs.length ? table("Repairs", ["Rule", "Where", "What was done", "By"],
      repairs.map((each) => [h("span", { class: "code" }, each.code), each.pointer || "/", each.message, each.by])) : null,
  ].filter(Boolean) };
}

export function figuresPart({ figures }) {
  if (!figures.length) return null;
  return { of: figures, make: () => [h("h3", {}, "Model"), table("What the model did",
    ["Step", "Model", "Load", "Queue", "Prompt", "First token", "Writing", "Tokens in", "Tokens out", "Tokens/s"],
    figures.map((each) => [words(each.step), each.model ?? "–", span(each.model_load_time_ms), span(each.queue_time_ms), span(each.prompt_time_ms),
      span(each.time_to_first_token_ms), span(each.inference_time_ms), each.input_tokens ?? "–", each.output_tokens ?? "–",
      each.tokens_per_second === null ? "–" : Math.round(each.tokens_per_second * 10) / 10]), "tight")] };
}

export function logPart({ log }) {
  if (!log.length) return null;
  return { of: log, make: () => [h("h3", {}, "Log"), table("Log", ["Time", "Phase", "%", "Message"],
    log.toReversed().map((line) => [line.at ? clock(line.at) : "–", words(line.phase), line.progress ?? "", line.message ?? ""]), "log")] };
}

export function factsPart(job) {
  const facts = [
    ["Worker", job.worker ?? "none yet"], ["Priority", job.priority], ["Created", full(job.created_at)],
    ["May start", full(job.run_at)], ["Started", full(job.started_at)], ["Ended", full(job.finished_at)],
    ["Took", job.duration_ms === null ? "–" : span(job.duration_ms)],
  ];
  return { of: facts, make: () => [h("h3", {}, "Facts"), h("dl", { class: "facts" },
    facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))))] };
}

const full = (iso) => (iso ? new Date(iso).toLocaleString([], { hour12: false }) : "–");

function table(name, heads, rows, kind = "") {
  return h("div", { class: `scroll ${kind}`, tabindex: 0, role: "region", "aria-label": `${name}, scrolls` },
    h("table", { "aria-label": name }, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, typeof cell === "number" ? String(cell) : cell)))))));
}
