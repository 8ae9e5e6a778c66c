import { DifyStream } from "./stream.js";

const said = document.getElementById("said");
const form = document.getElementById("ask");
const stop = document.getElementById("stop");
// An example's user. Take yours from the session, on the server: a person who can name a
// user here can read that user's conversations.
const user = (localStorage.user ??= crypto.randomUUID?.() ?? String(Math.random()).slice(2));
const stream = new DifyStream({ base: "api", user });

function line(text, kind) {
  const made = document.createElement("p");
  made.textContent = text;
  made.className = kind;
  said.append(made);
  return made;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = document.getElementById("question");
  const send = form.querySelector("button:not([type])");
  line(question.value, "question");
  const answer = line("", "waiting");
  send.disabled = true; // one at a time: each question continues the conversation
  stop.disabled = false;
  try {
    for await (const state of stream.ask(question.value)) {
      answer.textContent = state.text;
      answer.className = state.done ? "" : "waiting";
      answer.dataset.reconnecting = state.reconnecting;
    }
    question.value = "";
  } catch (error) {
    answer.className = "";
    line(error.message, "failed");
  }
  send.disabled = false;
  stop.disabled = true;
});

stop.addEventListener("click", () => stream.stop());
