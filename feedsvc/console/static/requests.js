// Requests to the service. Each ends with an answer, with a message for people, or at a deadline.

const DEADLINE_MS = 10_000;
const LOADING = "Loading …";

// Return the body as text. Throws an Error whose message is for people, except for an AbortError:
// that is the caller's own `signal`.
async function ask(url, signal) {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const either = AbortSignal.any([signal, deadline]);
  let answer, body;
  try {
    answer = await fetch(url, { headers: { Accept: "application/json" }, signal: either });
    body = await answer.text();
  } catch (error) {
    if (signal.aborted) throw error;
    const late = `No answer within ${DEADLINE_MS / 1000} s.`;
    throw new Error(deadline.aborted ? late : "The service cannot be reached.");
  }
  if (!answer.ok) throw new Error(inWords(answer, body));
  return body;
}

function inWords(answer, body) {
  try {
    return JSON.parse(body).detail;
  } catch {
    return `The service answered ${answer.status}.`;
  }
}

// A part of the page that is loaded. It keeps its content until the next answer has arrived. Shows
// an error with a button to try again. A new request replaces one that is still running.
export class Part {
  #state;
  #show;
  #running = new AbortController();

  constructor(state, show) {
    this.#state = state;
    this.#show = show;
  }

  // `silently`: do not say "Loading …", for a request that is repeated every few seconds.
  async load(url, { silently = false } = {}) {
    this.#running.abort();
    this.#running = new AbortController();
    const { signal } = this.#running;
    if (!silently) this.#say(LOADING);
    try {
      const body = await ask(url, signal);
      if (signal.aborted) return;
      this.#show(body);
      this.#say("");
    } catch (error) {
      if (!signal.aborted) this.#say(error.message, () => this.load(url));
    }
  }

  #say(message, tryAgain) {
    this.#state.replaceChildren(message);
    this.#state.classList.toggle("bad", Boolean(tryAgain));
    this.#state.closest(".card").setAttribute("aria-busy", message === LOADING);
    if (!tryAgain) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", tryAgain);
    this.#state.append(" ", button);
  }
}
