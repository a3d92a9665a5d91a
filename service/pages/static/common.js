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

// Return the number that stands in a field, null of an empty one. A comma is as good as a point; what
// can be read in two ways, such as 1,234.5, is refused: a factor of ten in a scale is one in each width.
function readNumber(field) {
  const text = field.value.trim();
  const name = field.getAttribute("aria-label");
  const { least, most } = field.dataset;
  if (text === "") return null;
  const value = /^\d+(?:[.,]\d*)?$|^[.,]\d+$|^\d+(?:\.\d+)?e-?\d+$/.test(text) ? Number(text.replace(",", ".")) : NaN;
  if (Number.isNaN(value)) throw new Error(`${name}: "${text}" is no number; write it as 0.25 or 0,25, without a separator of thousands.`);
  const thousands = /^[1-9]\d{0,2}[.,]\d{3}$/.test(text) ? Number(text.replace(/[.,]/, "")) : Infinity;
  if (thousands <= Number(most)) throw new Error(`${name}: "${text}" may mean ${thousands} or ${value}; write the one that is meant, a fraction with at most two digits.`);
  if (value < Number(least) || value > Number(most)) throw new Error(`${name}: expected a number from ${least} to ${most}, got ${text}.`);
  return value;
}

// What cannot be read is marked in the field itself, with the reason, and stops its form.
document.addEventListener("input", ({ target }) => {
  if (target.dataset.number === undefined) return;
  let reason = "";
  try { readNumber(target); } catch (error) { reason = error.message; }
  target.setCustomValidity(reason);
});

// Return the least width that a filter asks for: 0, all, where nothing can be read.
function readLeast(field) {
  try { return readNumber(field) || 0; } catch { return 0; }
}

// Return the options that a form's fields stand for.
function readOptions(form) {
  const options = {};
  const kind = form.querySelector("input[name=scale]:checked").value;
  if (kind !== "metadata") {
    const value = readNumber(byId(kind));
    if (value === null) throw new Error("Give the scale as a number above zero.");
    options[kind] = value;
  }
  if (byId("ignore_metadata").checked) options.use_metadata = false;
  for (const name of ["threshold", "min_length_px"]) {
    const value = readNumber(byId(name));
    if (value !== null) options[name] = value;
  }
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
