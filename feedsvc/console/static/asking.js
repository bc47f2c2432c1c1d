// Asking the service: every request ends, with an answer, with what is wrong in words, or after a deadline.

const DEADLINE_MS = 10_000;
const LOADING = "Loading …";

// The body as text. Throws an Error whose message is for people; one whose name is AbortError if `signal` was aborted.
async function ask(url, signal) {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const signals = signal ? [signal, deadline] : [deadline];
  let answer, body;
  try {
    answer = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.any(signals) });
    body = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error(deadline.aborted ? `No answer within ${DEADLINE_MS / 1000} s.` : "The service cannot be reached.");
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

// Shows a part of the page: what is there stays until the next answer is; what is wrong is said, with a button to try again.
export class Part {
  #state;
  #show;
  #asked = new AbortController();

  constructor(state, show) {
    this.#state = state;
    this.#show = show;
  }

  // `silently`: for what is asked again and again, and need not say each time that it is loading.
  async load(url, { silently = false } = {}) {
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
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

  #say(words, again) {
    this.#state.replaceChildren(words);
    this.#state.classList.toggle("bad", Boolean(again));
    this.#state.closest(".card").setAttribute("aria-busy", words === LOADING);
    if (!again) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", again);
    this.#state.append(" ", button);
  }
}
