// The table of jobs: in work, next in the queue, newest ended and newest failed.

import { byId, capped, clock, h, keyed, setText, span, stateOf, ticking, words } from "./dom.js";
import { ask } from "./feed.js";
import { openJob } from "./job.js";

const GROUPS = [
  ["in_work", "In work"],
  ["waiting", "Waiting"],
  ["finished", "Ended"],
  ["failed", "Failed"],
  ["older", "Older"],
];
// How many of each group are shown among all of them.
const AMONG_ALL = { in_work: 50, waiting: 6, finished: 12, failed: 0, older: 0 };
// The choices below which older jobs can be listed, and the status that is asked for.
const LISTED = { all: "", failed: "?status=failed" };
const EMPTY = {
  all: ["No jobs yet. Let a user insert a row, or try: ", 'consumer submit "When the form is sent, tell #sales on Slack"'],
  in_work: ["Nothing is in work. Waiting jobs are taken at once by a free worker. Look closer: ", "consumer status JOB_ID"],
  waiting: ["Nothing waits. Add a job: ", 'consumer submit "Every morning at 9, mail me the orders"'],
  finished: ["No job has ended yet. Follow one: ", "consumer watch"],
  failed: ["No job has failed. If one does, what to do stands here."],
};

let chosen = "all";
let older = { jobs: [] }; // what was listed on demand: as it was then, not live

export function filterJobs(shown) {
  const changed = () => { older = { jobs: [] }; shown(); };
  byId("more").addEventListener("click", () => list().then(shown));
  const choices = [["all", "All"], ...GROUPS.slice(0, -1)];
  byId("filter").append(...choices.map(([name, label]) => h("label", {},
    h("input", { type: "radio", name: "which", value: name, checked: name === chosen, onchange: () => { chosen = name; changed(); } }),
    h("span", {}, label, h("b", { class: "count", "data-count": name })))));
}

export function showJobs(parts) {
  if (!parts.in_work || !parts.queue) return;
  const { queue } = parts;
  counts({ in_work: queue.in_work, waiting: queue.claimable + queue.delayed });
  const here = new Set(GROUPS.slice(0, -1).flatMap(([name]) => (visible(parts, name)).map((job) => job.id)));
  const all = { ...parts, older: older.jobs.filter((job) => !here.has(job.id)) };
  const shown = GROUPS.map(([name, label]) => [name, label, visible(all, name)])
    .filter(([, , jobs]) => jobs.length);
  const table = byId("jobs");
  keyedBodies(table, shown, queue);
  table.hidden = !shown.length;
  byId("more").hidden = !shown.length || !(chosen in LISTED) || Boolean(older.over);
  const empty = byId("jobs-empty");
  empty.hidden = shown.length > 0;
  const [text, command] = EMPTY[chosen];
  if (empty.dataset.of !== chosen) empty.replaceChildren(text, ...(command ? [h("code", {}, command)] : []));
  empty.dataset.of = chosen;
}

function visible(parts, name) {
  if (name === "older") return parts.older;
  return chosen === "all" ? parts[name].slice(0, AMONG_ALL[name]) : chosen === name ? parts[name] : [];
}

// One page more of the list of all jobs, newest first.
async function list() {
  const button = byId("more");
  const mine = older;
  button.disabled = true;
  try {
    const path = mine.next ? `${LISTED[chosen] || "?"}&before=${encodeURIComponent(mine.next)}` : LISTED[chosen];
    const found = await (await ask(`page/jobs${path}`)).json();
    if (older === mine) older = { jobs: [...mine.jobs, ...found.jobs], next: found.next, at: new Date(), over: !found.next };
    setText(byId("more-said"), "");
  } catch (error) {
    setText(byId("more-said"), error.message);
  }
  button.disabled = false;
}

function counts(known) {
  for (const element of document.querySelectorAll("[data-count]")) {
    const count = known[element.dataset.count];
    setText(element, count ? ` ${capped(count)}` : "");
  }
}

function keyedBodies(table, groups, queue) {
  const focused = document.activeElement?.getAttribute?.("href");
  const heads = new Map([...table.tBodies].map((body) => [body.dataset.key, body]));
  for (const [name, label, jobs] of groups) {
    const body = heads.get(name) ?? h("tbody", { "data-key": name, role: "rowgroup" });
    heads.delete(name);
    table.append(body);
    const rows = [{ title: groupTitle(name, label, jobs.length, queue), id: `title ${name}` }, ...jobs];
    keyed(body, rows, (job) => job.id, (job) => (job.title ? titleRow() : jobRow(job)), (row, job) =>
      job.title ? setText(row.firstChild, job.title) : update(row, job));
  }
  heads.forEach((body) => body.remove());
  // a job that has gone to another group keeps the focus
  if (focused && document.activeElement === document.body) table.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

function groupTitle(name, label, shown, queue) {
  const all = { in_work: queue.in_work, waiting: queue.claimable + queue.delayed }[name];
  if (all > shown) return `${label}: ${name === "waiting" ? "next" : "first"} ${shown} of ${capped(all)}`;
  if (name === "older") return `Older: ${shown}, as they were at ${clock(older.at)}`;
  return name === "finished" || name === "failed" ? `${label}: newest ${shown}` : label;
}

const titleRow = () => h("tr", { class: "group", role: "row" }, h("th", { colspan: 4, scope: "rowgroup", role: "rowheader" }));

function jobRow(job) {
  const role = "cell"; // said outright, because a phone shows rows as blocks
  // anywhere in the row, but not on its link and not to mark text
  const onclick = (event) => { if (!event.target.closest("a") && !String(getSelection())) openJob(job.id); };
  return h("tr", { class: "job", role: "row", onclick },
    h("td", { role }, h("span", { class: "pill" })),
    h("td", { role, class: "request" }, h("a", { href: `#job/${job.id}` }), h("span", { class: "mono faint id" }, job.id)),
    h("td", { role, class: "progress" }),
    h("td", { role, class: "when" }));
}

function update(row, job) {
  const text = JSON.stringify(job);
  if (row.dataset.was === text) return;
  row.dataset.was = text;
  const [state, request, progress, when] = row.children;
  const [kind, label] = stateOf(job);
  state.firstChild.className = `pill ${kind}`;
  setText(state.firstChild, label);
  setText(request.firstChild, job.prompt.trim() || job.id);
  progress.replaceChildren(...progressOf(job));
  when.replaceChildren(whenOf(job));
}

function progressOf(job) {
  if (job.status === "processing") {
    const value = job.progress ?? 0;
    return [h("progress", { max: 100, value, "aria-label": `Progress of ${job.id}` }), h("span", { class: "small" }, `${words(job.phase)} ${value} %`)];
  }
  if (job.status === "failed") return [h("span", { class: "code" }, job.code ?? "?")];
  if (job.status === "completed") return [h("span", { class: "small" }, `took ${span(Date.parse(job.finished_at) - Date.parse(job.started_at))}`)];
  if (job.status === "pending" && job.attempt) return [h("span", { class: "small" }, `after ${job.attempt} ${job.attempt === 1 ? "attempt" : "attempts"}`)];
  return [job.priority ? h("span", { class: "small" }, `priority ${job.priority}`) : ""];
}

function whenOf(job) {
  if (job.status === "processing") return ticking(job.started_at, (text) => `for ${text}`);
  if (job.finished_at) return ticking(job.finished_at, (text) => `${text} ago`);
  return ticking(job.created_at, (text) => `for ${text}`);
}
