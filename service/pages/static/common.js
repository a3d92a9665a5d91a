"use strict";
// What several pages need: calls of the service, and the fields of the scale.
const byId = (id) => document.getElementById(id);
const ROOT = document.documentElement.dataset.root;

// Return what the service answers; an error has its sentence, also where a proxy answers in HTML.
async function ask(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(`${ROOT}${path}`, {
      method, body: body && JSON.stringify(body), headers: { ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
    });
  } catch {
    throw new Error("The service cannot be reached; try again.");
  }
  const text = await answer.text();
  let reply = null;
  try { reply = text ? JSON.parse(text) : null; } catch { /* not the service itself */ }
  if (!answer.ok) throw new Error(reply && reply.detail ? reply.detail : `The service does not answer (${answer.status}); try again.`);
  return reply;
}

// Return the options that a form's fields stand for.
function readOptions(form) {
  const options = {};
  const kind = form.querySelector("input[name=scale]:checked").value;
  if (kind !== "metadata") {
    const value = Number(byId(kind).value);
    if (!(value > 0)) throw new Error("Give the scale as a number above zero.");
    options[kind] = value;
  }
  if (byId("ignore_metadata").checked) options.use_metadata = false;
  for (const name of ["threshold", "min_length_px"]) if (byId(name).value !== "") options[name] = Number(byId(name).value);
  return options;
}

// Who types a scale means it. Heard at the document: the fields come anew when a job is done.
document.addEventListener("input", ({ target }) => {
  if (["distance_m", "mm_per_px"].includes(target.id)) target.form.querySelector(`input[name=scale][value=${target.id}]`).checked = true;
});

// Open what an address leads into: not every browser does that by itself.
function reveal() {
  const target = location.hash && byId(location.hash.slice(1));
  for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  if (target) target.scrollIntoView();
}
window.addEventListener("hashchange", reveal);
reveal();
