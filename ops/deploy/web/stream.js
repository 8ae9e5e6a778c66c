// The stream of a Dify app's answer, over fetch: an EventSource can't POST, and Dify's
// events have no ids from which it could continue.
//
// If the connection breaks, a second POST would run the app twice. The client looks for the
// first run instead: a chatflow continues without its reader (Dify 1.13 and later) and
// reports its end on /workflow/<run>/events; any app's answer is in /messages when it is
// complete. The complete answer replaces the text that was shown.

const SILENCE = 35_000; // ms: Dify sends a ping every 10 s
const PATIENCE = 120_000; // ms, for an answer after its connection broke
const FAILED = "The app has failed.";
const LOST = "The connection broke and the answer could not be found again.";
const PAUSES = [500, 1000, 2000, 4000, 8000]; // ms between two looks

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** The `data:` events of a response, parsed. Throws if it breaks or is silent too long. */
async function* events(response, silence) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      let timer;
      const late = new Promise((_, fail) => {
        timer = setTimeout(() => fail(new Error("no data came in time")), silence);
      });
      const { done, value } = await Promise.race([reader.read(), late]).finally(() =>
        clearTimeout(timer),
      );
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** An error that Dify reports: final, so it is not tried again. */
export class DifyError extends Error {}

export class DifyStream {
  #base;
  #user;
  #silence;
  #conversation = "";
  #run = {};

  /** `base` is the path of Dify's /v1 on this server, which adds the app's key. */
  constructor({ base, user, silence = SILENCE }) {
    this.#base = base;
    this.#user = user;
    this.#silence = silence;
  }

  /** Ask, and yield `{text, done, reconnecting}` at each change. */
  async *ask(query, inputs = {}) {
    const run = (this.#run = { text: "", done: false, reconnecting: false });
    const response = await fetch(`${this.#base}/chat-messages`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        query,
        inputs,
        user: this.#user,
        conversation_id: this.#conversation,
        response_mode: "streaming",
      }),
    });
    if (!response.ok) throw await this.#refusal(response);
    try {
      for await (const event of events(response, this.#silence)) {
        if (this.#take(run, event)) yield { ...run };
        if (run.stopped && !run.stopSent) await this.#sendStop(run);
        if (run.done) return;
      }
    } catch (error) {
      if (error instanceof DifyError) throw error;
    }
    // The stream ended without an end event, or broke.
    if (!run.stopped) {
      run.reconnecting = true;
      yield { ...run };
      run.text = (await this.#rest(run)) || run.text;
    }
    yield { ...run, done: true, reconnecting: false };
  }

  /** Stop the running answer as soon as its task id is known. */
  async stop() {
    const run = this.#run;
    run.stopped = true;
    run.aside?.abort();
    if (run.task && !run.stopSent) await this.#sendStop(run);
  }

  async #sendStop(run) {
    if (!run.task) return;
    run.stopSent = true;
    await fetch(`${this.#base}/chat-messages/${run.task}/stop`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user: this.#user }),
    }).catch(() => {});
  }

  /** Apply an event; returns whether the text or the state changed. */
  #take(run, event) {
    run.task = event.task_id ?? run.task;
    run.message = event.message_id ?? run.message;
    run.workflow = event.workflow_run_id ?? run.workflow;
    this.#conversation = event.conversation_id || this.#conversation;
    switch (event.event) {
      case "agent_message":
        run.agent = true;
        run.text += event.answer;
        return true;
      case "message":
        // An agent's last message has its whole text.
        run.text = run.agent ? event.answer : run.text + event.answer;
        return true;
      case "message_replace":
        run.text = event.answer;
        return true;
      case "message_end":
      case "workflow_paused":
        run.done = true;
        return true;
      case "workflow_finished":
        // A failed run may send no other error event.
        if (event.data.status === "failed") throw new DifyError(event.data.error ?? FAILED);
        run.text ||= event.data.outputs?.answer ?? "";
        run.done = true;
        return true;
      case "error":
        throw new DifyError(event.message ?? FAILED);
    }
    return false;
  }

  /** The complete answer of a run whose connection broke. */
  async #rest(run) {
    if (!run.workflow && !run.message) throw new Error(LOST); // no id to look for
    const ends = Date.now() + PATIENCE;
    for (let look = 0; Date.now() < ends && !run.stopped; look++) {
      run.aside = new AbortController();
      const late = setTimeout(() => run.aside.abort(), ends - Date.now());
      try {
        const found = (await this.#finished(run)) || (await this.#kept(run));
        if (found) return found;
      } catch (error) {
        if (error instanceof DifyError) throw error;
      } finally {
        clearTimeout(late);
      }
      await wait(PAUSES[Math.min(look, PAUSES.length - 1)]);
    }
    if (run.stopped) return "";
    throw new Error(LOST);
  }

  /** The answer in the last event of a chatflow's run; waits for this event. */
  async #finished(run) {
    if (!run.workflow) return undefined;
    const query = new URLSearchParams({ user: this.#user });
    const response = await fetch(`${this.#base}/workflow/${run.workflow}/events?${query}`, {
      signal: run.aside.signal,
    });
    if (!response.ok) return undefined; // an older Dify, or another type of app
    for await (const event of events(response, this.#silence)) {
      if (event.event !== "workflow_finished") continue;
      if (event.data.status === "failed") throw new DifyError(event.data.error ?? FAILED);
      return event.data.outputs?.answer;
    }
    return undefined;
  }

  /** The answer in the conversation's messages; empty until it is complete. */
  async #kept(run) {
    if (!this.#conversation || !run.message) return undefined;
    const query = new URLSearchParams({
      user: this.#user,
      conversation_id: this.#conversation,
      limit: "5",
    });
    const response = await fetch(`${this.#base}/messages?${query}`, { signal: run.aside.signal });
    if (!response.ok) return undefined;
    const { data } = await response.json();
    const mine = data.find((message) => message.id === run.message);
    if (mine?.status === "error") throw new DifyError(mine.error ?? FAILED);
    return mine?.answer || undefined;
  }

  async #refusal(response) {
    const said = await response.json().catch(() => ({}));
    if (said.code === "not_found") this.#conversation = ""; // the conversation was deleted
    return new DifyError(said.message ?? `Dify answered HTTP ${response.status}.`);
  }
}
