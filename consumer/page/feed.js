// Asks the worker: single answers, and the stream of news. Sends the token, which only this tab's storage holds.

const TOKEN = "worker-token";
// Milliseconds. A stream that is silent for longer than the worker lets one live has died without a word.
const SILENCE = 35_000;
const PAUSES = [500, 1000, 2000, 4000, 8000, 15_000];

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// One request; a refusal is thrown with the worker's own sentence.
export async function ask(path, { method = "GET", signal } = {}) {
  const known = token.get();
  const headers = known ? { Authorization: `Bearer ${known}` } : {};
  const answer = await fetch(path, { method, headers, signal, cache: "no-store", redirect: "error" });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.error ?? `The worker answered ${answer.status}.`);
}

// Follows the stream while the page is visible. Tells `news(parts, now)`, and `state`: live, lost or paused; `refused`
// gets a 401 and ends it. The stream ends by itself now and then, and is asked for anew.
export function follow({ news, state, refused }) {
  let current = null;
  let failures = 0;

  async function run() {
    while (!document.hidden) {
      current = new AbortController();
      try {
        await stream(current);
        failures = 0;
      } catch (error) {
        if (error.status === 401) return refused(error);
        if (document.hidden) break;
        state("lost", error instanceof Refused ? error.message : "The worker does not answer.");
        await pause(PAUSES[Math.min(failures++, PAUSES.length - 1)]);
      }
    }
    current = null;
    state("paused");
  }

  async function stream(aborting) {
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => aborting.abort(), SILENCE);
    };
    heard();
    try {
      const answer = await ask("page/live", { signal: aborting.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) return;
        heard();
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) told(event);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  function told(event) {
    const { parts, now } = JSON.parse(event.replace(/^data: /, ""));
    failures = 0;
    state("live");
    news(parts, now);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) current?.abort();
    else if (!current) run();
  });
  run();
}

const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));
