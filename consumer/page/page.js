// The page's beginning: follows the worker's news and gives each part to the view that shows it.

import { byId, setClock, setText, tick } from "./dom.js";
import { follow, token } from "./feed.js";
import { openJob, jobNews, watchHash } from "./job.js";
import { filterJobs, showJobs } from "./jobs.js";
import { showState, showTiles, showWorkers } from "./overview.js";
import { showTrends } from "./plots.js";

const parts = {};
const LIVE = { live: "Live", lost: "Not connected", paused: "Paused", wait: "Connecting" };

function news(fresh, now) {
  Object.assign(parts, fresh);
  setClock(now);
  byId("gate").hidden = true;
  byId("data").hidden = false;
  byId("open-form").hidden = false;
  byId("forget").hidden = token.get() === null;
  if (fresh.health) setText(byId("worker"), fresh.health.worker_id);
  if (fresh.health || fresh.database || fresh.workers || fresh.queue) showState(parts, announce);
  if (fresh.queue || fresh.health || fresh.trends) showTiles(parts);
  if (fresh.workers || fresh.in_work || fresh.health) showWorkers(parts);
  if (fresh.in_work || fresh.waiting || fresh.finished || fresh.failed || fresh.queue) showJobs(parts);
  if (fresh.trends) showTrends(parts.trends);
  jobNews(parts);
}

function connection(state, why = "") {
  const live = byId("live");
  live.dataset.state = state;
  setText(live, LIVE[state]);
  live.title = why;
  if (state === "lost") showState({ ...parts, lost: why }, announce);
  else if (state === "live" && parts.health) showState(parts, announce);
}

// Tells people who do not see the page what has changed in it.
function announce(sentence) {
  setText(byId("said"), sentence);
}

function askForToken(again) {
  byId("data").hidden = true;
  byId("open-form").hidden = true;
  byId("gate").hidden = false;
  connection("wait");
  setText(byId("live"), "Token needed");
  setText(byId("gate-wrong"), again ? "The worker does not know this token. Is it this worker's?" : "");
  byId("gate-token").focus();
}

function start() {
  follow({
    news,
    state: connection,
    refused: () => {
      const given = token.get() !== null;
      token.forget();
      byId("forget").hidden = true;
      askForToken(given);
    },
  });
}

byId("gate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("gate-token").value.trim());
  byId("gate-token").value = "";
  location.reload();
});
byId("forget").addEventListener("click", () => {
  token.forget();
  location.reload();
});
byId("open-form").addEventListener("submit", (event) => {
  event.preventDefault();
  openJob(byId("open-id").value.trim());
});
filterJobs(() => showJobs(parts));
watchHash(announce);
setInterval(tick, 1000);
start();
