// One job, in a sheet over the page: what it is, how far, its time line, its log, what went wrong, and its workflow.

import { byId, h, replaced, setText, stateOf, words } from "./dom.js";
import { ask, token } from "./feed.js";
import { errorPart, factsPart, figuresPart, logPart, mendedPart, previewPart, timelinePart } from "./job_parts.js";

const ENDED = ["completed", "failed", "cancelled"];
const PARTS = [
  ["error", errorPart],
  ["preview", previewPart],
  ["workflow", null],
  ["timeline", timelinePart],
  ["mended", mendedPart],
  ["figures", figuresPart],
  ["log", logPart],
  ["facts", factsPart],
];

let shown = null; // {id, job, drawn, asking, again}
let announce = () => {};

export const openJob = (id) => { location.hash = `job/${id}`; };

export function watchHash(say) {
  announce = say;
  const dialog = byId("job");
  dialog.addEventListener("close", closed);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  addEventListener("hashchange", followHash);
}

// News of the queue: look again at a job that is not over, or that has begun anew.
export function jobNews(parts) {
  if (!shown) return followHash();
  const { job, missing } = shown;
  if (missing) return;
  if (!job || !ENDED.includes(job.status)) return load();
  const line = ["in_work", "waiting", "finished"].flatMap((name) => parts[name] ?? []).find((each) => each.id === shown.id);
  if (line && line.updated_at !== job.updated_at) load();
}

function followHash() {
  const id = /^#job\/([A-Za-z0-9_-]{1,64})$/.exec(location.hash)?.[1];
  const dialog = byId("job");
  if (!id) return dialog.open && dialog.close();
  if (shown?.id === id) return;
  forget();
  shown = { id };
  dialog.replaceChildren(...skeleton(id));
  if (!dialog.open) dialog.showModal();
  load();
}

function closed() {
  const link = shown && byId("jobs").querySelector(`a[href="#job/${shown.id}"]`);
  forget();
  byId("job").replaceChildren();
  if (location.hash.startsWith("#job/")) history.pushState(null, "", location.pathname + location.search);
  // where it was opened from may be gone: its row moves when the job ends
  if (document.activeElement === document.body) link?.focus();
}

function forget() {
  if (shown?.drawn) URL.revokeObjectURL(shown.drawn);
  shown = null;
}

function skeleton(id) {
  return [
    h("header", {},
      h("div", {}, h("h2", { id: "job-title", class: "mono", tabindex: -1, autofocus: true }, id), h("p", { id: "job-state" }, "Looking…")),
      h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => byId("job").close() }, "✕")),
    h("div", { id: "job-progress" }),
    h("div", { id: "job-acts", class: "acts" }),
    h("p", { id: "job-said", class: "said", role: "status" }),
    h("section", { "aria-label": "Request" }, h("h3", {}, "Request"), h("p", { id: "job-prompt", class: "prompt" })),
    ...PARTS.map(([name]) => h("section", { id: `job-${name}`, hidden: true })),
  ];
}

// One look at a time; what comes meanwhile is one more look.
async function load() {
  const mine = shown;
  if (mine.asking) { mine.again = true; return; }
  mine.asking = true;
  try {
    const job = await (await ask(`page/jobs/${mine.id}`)).json();
    if (shown === mine) show(job);
  } catch (error) {
    mine.missing = error.status === 404;
    if (shown === mine) setText(byId(mine.job ? "job-said" : "job-state"), error.message);
  }
  mine.asking = false;
  if (shown === mine && mine.again) { mine.again = false; load(); }
}

function show(job) {
  const before = shown.job;
  shown.job = job;
  setText(byId("job-said"), "");
  const state = byId("job-state");
  const [kind, label] = stateOf(job);
  const said = `${job.mode === "edit" ? "edit, " : ""}attempt ${job.attempt}, ${job.retry_count} of ${job.max_retries} retries used`;
  replaced(state, [job.status, label, said], () => [h("span", { class: `pill ${kind}` }, label), h("span", { class: "faint" }, said)]);
  if (before && before.status !== job.status) announce(`Job ${job.id}: ${label}.`);
  setText(byId("job-prompt"), job.prompt);
  progress(job);
  acts(job);
  for (const [name, part] of PARTS) {
    if (part) section(name, part(job));
  }
  if (job.outline) drawn(job);
  else section("workflow", null);
}

// Puts a part {of, make} in its section; builds it anew only when what it shows has changed.
function section(name, part) {
  const element = byId(`job-${name}`);
  element.hidden = !part;
  if (part) replaced(element, part.of, part.make);
}

function progress(job) {
  const place = byId("job-progress");
  const running = job.status === "processing";
  place.hidden = !running;
  if (!running) return;
  if (!place.firstChild) place.append(h("progress", { max: 100, "aria-label": "Progress" }), h("p", { class: "small" }));
  place.firstChild.value = job.progress ?? 0;
  setText(place.lastChild, `${words(job.phase)}, ${job.progress ?? 0} %`);
}

function acts(job) {
  const may = token.get() !== null;
  const act = ["pending", "processing"].includes(job.status) && !job.cancel_requested ? "cancel"
    : ["failed", "cancelled"].includes(job.status) ? "retry" : null;
  replaced(byId("job-acts"), [may, act], () => {
    if (!act) return [];
    if (!may) {
      return [h("p", { class: "faint small" }, "This page only reads, because the worker has no ", h("code", {}, "WORKER_API_TOKEN"),
        `. To ${act} the job, in a shell: `, h("code", {}, `consumer ${act} ${job.id}`))];
    }
    return act === "retry" ? [button("Retry the job", "strong", () => send("retry"))] : [button("Cancel the job", "danger", sure)];
  });
}

const button = (text, kind, onclick) => h("button", { type: "button", class: kind, onclick }, text);

function sure() {
  const place = byId("job-acts");
  const yes = button("Yes, cancel it", "danger", () => send("cancel"));
  place.replaceChildren(yes, button("Keep it", "quiet", () => { delete place.dataset.was; acts(shown.job); place.querySelector("button")?.focus(); }));
  yes.focus();
}

async function send(act) {
  const mine = shown;
  for (const each of byId("job-acts").querySelectorAll("button")) each.disabled = true;
  let said = act === "cancel" ? "Asked to cancel." : "Back in the queue.";
  try {
    await ask(`jobs/${mine.id}/${act}`, { method: "POST" });
  } catch (error) {
    said = error.message;
  }
  if (shown !== mine) return;
  delete byId("job-acts").dataset.was;
  await load();
  if (shown === mine) {
    acts(mine.job);
    setText(byId("job-said"), said);
    byId("job").querySelector("header button").focus();
  }
}

// The picture is fetched with the token and shown as an image, in which nothing runs.
async function drawn(job) {
  const mine = shown;
  const before = mine.drawnFor;
  mine.drawnFor = job.finished_at;
  if (before === job.finished_at) return;
  section("workflow", { of: job.finished_at, make: () => workflow(job) });
  try {
    const blob = await (await ask(`page/jobs/${job.id}/workflow.svg`)).blob();
    if (shown !== mine) return;
    if (mine.drawn) URL.revokeObjectURL(mine.drawn);
    mine.drawn = URL.createObjectURL(blob);
    byId("picture").src = mine.drawn;
  } catch (error) {
    if (shown === mine) byId("picture-frame").replaceChildren(h("p", { class: "empty" }, error.message));
  }
}

function workflow(job) {
  const frame = h("div", { id: "picture-frame", class: "picture", tabindex: 0, role: "region", "aria-label": "Picture of the workflow, scrolls" },
    h("img", { id: "picture", alt: "The workflow as a graph. The words below tell the same." }));
  const size = h("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => {
    size.setAttribute("aria-pressed", String(frame.classList.toggle("full")));
  } }, "Full size");
  return [h("div", { class: "head" }, h("h3", {}, "Workflow"), size), frame,
    h("details", { open: true }, h("summary", {}, "In words"), h("pre", { class: "outline", tabindex: 0, role: "region", "aria-label": "The workflow in words" }, job.outline))];
}
