// How it stands: the headline with its reasons, the figures of the queue, and the workers.

import { byId, capped, clock, h, keyed, plural, replaced, setText, since, span, ticking, words } from "./dom.js";

const HEADLINES = {
  healthy: "All is well",
  look: "It works, but look at this",
  degraded: "Degraded: some or all jobs have to wait",
  unhealthy: "In trouble: no job can be worked on",
  lost: "This worker does not answer",
};
const PAUSED = ["paused", "pausing"];
// A queue that nobody empties is trouble, whatever the parts say of themselves.
const LONG_WAIT = 5 * 60_000;

let last = "";

export function showState(parts, announce) {
  const { state, reasons } = standing(parts);
  const section = byId("state");
  section.dataset.state = state;
  setText(byId("state-title"), HEADLINES[state] ?? state);
  document.title = `${state === "healthy" ? "" : "⚠ "}${short(parts, state)} · ${parts.health?.worker_id ?? "worker"}`;
  const pill = byId("standing");
  pill.hidden = state === "healthy";
  pill.className = `pill ${state === "look" || state === "degraded" ? "warn" : "bad"}`;
  setText(pill, SHORT[state] ?? "");
  const line = byId("state-line");
  const text = summary(parts, state);
  setText(line, text);
  line.hidden = !text;
  keyed(byId("reasons"), reasons, (reason) => reason.text, () => h("li"), (item, reason) => {
    item.className = reason.grave ? "grave" : "mild";
    const [part, rest] = reason.text.split(/: (.*)/s);
    if (!item.firstChild) item.append(...(rest ? [h("strong", {}, part), `: ${rest}`] : [part]));
  });
  const said = `${HEADLINES[state] ?? state}. ${reasons.map((reason) => reason.text).join(" ")}`;
  if (said !== last && last) announce(said);
  last = said;
}

function standing({ health, database, queue, workers, lost }) {
  if (lost) {
    const text = `connection: ${lost} Trying again. What you see is as it was. If it stays so: systemctl status workflow-consumer`;
    return { state: "lost", reasons: [{ text, grave: true }] };
  }
  if (!health) return { state: "healthy", reasons: [] };
  const graves = [...health.reasons];
  const milds = [...health.warnings];
  let state = health.status;
  if (database && !database.ok) {
    const known = graves.some((text) => text.startsWith("database"));
    graves.push(`${known ? "" : `database: ${database.why} `}What you see of jobs is as it was; it goes on by itself.`);
    if (state === "healthy") state = "degraded";
  }
  if (health.draining) milds.push("stopping: this worker takes no more jobs, and ends when those in work are done.");
  for (const worker of workers ?? []) {
    if (worker.worker === health.worker_id) continue;
    if (worker.state === "away") milds.push(`${worker.worker}: not seen since ${clock(worker.last_seen_at)}. Is its host up? There: systemctl status workflow-consumer`);
    else if (PAUSED.includes(worker.state)) milds.push(`${worker.worker}: is paused and takes no jobs. To resume: consumer resume ${worker.worker}`);
    else if (worker.trouble) milds.push(`${worker.worker}: takes no jobs. ${worker.trouble}`);
    else if (worker.degraded) milds.push(`${worker.worker}: ${worker.degraded}`);
  }
  if (queue?.expired) milds.push(`leases: ${plural(queue.expired, "job")} in work whose worker fell silent. Workers take them back by themselves; at once: consumer reconcile`);
  const idle = (workers ?? []).some((worker) => worker.state === "idle");
  if (queue?.oldest_claimable_at && idle && since(queue.oldest_claimable_at) > LONG_WAIT) {
    milds.push(`queue: a job waits since ${clock(queue.oldest_claimable_at)} while a worker is free. See why: consumer doctor`);
  }
  if (state === "healthy" && milds.length) state = "look";
  return { state, reasons: [...graves.map((text) => ({ text, grave: true })), ...milds.map((text) => ({ text }))] };
}

function summary({ queue, workers }, state) {
  if (!queue || !workers || state === "lost") return "";
  const alive = workers.filter((worker) => worker.state !== "away").length;
  const waiting = queue.claimable + queue.delayed;
  const what = waiting ? `${capped(waiting)} waiting` : "nothing waits";
  return `${plural(alive, "worker")}, ${queue.in_work ? `${queue.in_work} in work` : "none in work"}, ${what}.`;
}

const SHORT = { degraded: "degraded", unhealthy: "in trouble", lost: "no answer", look: "look here" };

function short({ queue }, state) {
  return SHORT[state] ?? (queue ? `${queue.in_work} in work, ${capped(queue.claimable + queue.delayed)} waiting` : "");
}

export function showTiles({ queue, health, trends }) {
  if (!queue) return;
  const tiles = [
    ["Waiting", capped(queue.claimable), queue.oldest_claimable_at
      ? [ticking(queue.oldest_claimable_at, (text) => `oldest for ${text}`)] : ["nobody waits"]],
    ["Delayed", capped(queue.delayed), queue.next_run_at
      ? [`next at ${clock(queue.next_run_at)}`] : ["none"]],
    ["In work", String(queue.in_work), health && queue.in_work ? [`${health.slots.in_work} of them here`] : ["none"]],
    ["Ended, last hour", capped(queue.finished_last_hour), trends?.median_seconds ? [`half within ${span(1000 * trends.median_seconds)}`] : []],
    ["Failed, last hour", capped(queue.failed_last_hour),
      queue.finished_last_hour ? [`${Math.round((100 * queue.failed_last_hour) / queue.finished_last_hour)} % of those ended`] : ["none ended"]],
  ];
  keyed(byId("tiles"), tiles, ([name]) => name, tile, (element, [name, value, notes]) => {
    element.classList.toggle("bad", name.startsWith("Failed") && value !== "0");
    setText(element.querySelector(".value"), value);
    const note = element.querySelector(".note");
    const text = notes.map((each) => each.textContent ?? each).join("");
    if (note.textContent !== text || note.dataset.of !== String(queue.oldest_claimable_at)) note.replaceChildren(...notes);
    note.dataset.of = String(queue.oldest_claimable_at);
  });
}

const tile = ([name]) => h("div", { class: "tile" }, h("dt", {}, name), h("dd", { class: "value" }), h("dd", { class: "note faint" }));

export function showWorkers({ workers, in_work: jobs, health }) {
  if (!workers) return;
  const list = byId("workers");
  if (!workers.length) {
    list.replaceChildren(h("li", { class: "empty" }, "No worker has said anything yet. Start one: ", h("code", {}, "consumer run")));
    return;
  }
  list.querySelector(".empty")?.remove();
  keyed(list, workers, (worker) => worker.worker, () => h("li"), (item, worker) => {
    // the jobs are newer than what the worker said at its last heartbeat
    const busy = jobs.filter((job) => job.worker === worker.worker).map((job) => job.id);
    replaced(item, [worker, busy], () => workerCard({ ...worker, busy_with: busy }, worker.worker === health?.worker_id));
  });
}

function workerCard(worker, here) {
  const [state, label] = workerState(worker);
  const busy = worker.busy_with.map((id) => h("a", { href: `#job/${id}`, class: "mono" }, id));
  return [
    h("p", { class: "name" }, h("span", { class: `dot ${state}`, "aria-hidden": "true" }), h("strong", { class: "mono" }, worker.worker),
      here && h("span", { class: "faint" }, " this one"), h("span", { class: `badge ${state}` }, label)),
    h("p", { class: "faint" }, `${worker.hostname ?? "?"}, version ${worker.version ?? "?"}, `,
      ticking(worker.last_seen_at, (text) => `seen ${text} ago`)),
    busy.length
      ? h("p", {}, "Busy with ", ...busy.flatMap((link, n) => (n ? [", ", link] : [link])))
      : h("p", { class: "faint" }, worker.state === "away" ? "Its jobs are taken back when their leases run out." : "Free"),
    (worker.trouble || worker.degraded) && h("p", { class: "why" }, worker.trouble ?? worker.degraded),
    worker.missed_events ? h("p", { class: "faint" }, `${plural(worker.missed_events, "event")} missed by Realtime, found by heartbeat`) : null,
  ].filter(Boolean);
}

function workerState(worker) {
  if (worker.state === "away") return ["bad", "away"];
  if (PAUSED.includes(worker.state)) return ["warn", worker.state];
  if (worker.trouble) return ["bad", `model server ${words(worker.model_server)}`];
  if (worker.degraded) return ["warn", "degraded"];
  return worker.busy_with.length ? ["busy", "busy"] : ["ok", "ready"];
}
