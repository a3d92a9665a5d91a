"use strict";
// The scale of one photograph alone: kept for its next analysis, which follows if it had failed.
if (byId("own")) {
  const form = byId("own");
  for (const kind of ["distance_m", "mm_per_px"]) byId(`own_${kind}`).addEventListener("input", () => { form.querySelector(`[value=${kind}]`).checked = true; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const say = byId("sayown");
    try {
      const options = byId("own_ignore").checked ? { use_metadata: false } : {};
      const kind = form.querySelector("[name=ownscale]:checked").value;
      if (kind !== "survey") {
        options[kind] = readNumber(byId(`own_${kind}`));
        if (options[kind] === null) throw new Error("Give the scale as a number above zero.");
      }
      await ask("PUT", form.dataset.path, options);
      say.textContent = "Kept: \"Analyze again\" on the survey's page takes it; verdicts go along.";
      if (!form.dataset.retry) return;
      await ask("POST", form.dataset.retry);
      location.assign(`${ROOT}${form.dataset.survey}`);
    } catch (error) { say.textContent = error.message; }
  });
}
