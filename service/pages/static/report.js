"use strict";
// The report for the client, asked for until it is made, and what is known of the survey.

// Wait until the service has made a report: it says 202 as long as it works on it.
async function made(url, say) {
  for (let seconds = 0; ; seconds += 2) {
    const answer = await fetch(url, { method: "HEAD", cache: "no-store" });
    if (answer.status === 200) return;
    if (answer.status !== 202) { await ask("GET", url.slice(ROOT.length)); return; } // says why not
    say.textContent = `is being made${seconds > 20 ? "; a large survey takes minutes" : ""} …`;
    await new Promise((done) => { setTimeout(done, 2000); });
  }
}

for (const button of document.querySelectorAll("[data-form]")) button.addEventListener("click", async () => {
  const say = byId("sayreport");
  const rejected = byId("withrejected").checked ? "&rejected=true" : "";
  const url = `${ROOT}${button.parentElement.dataset.report}.${button.dataset.form}?locale=${byId("language").value}${rejected}`;
  button.disabled = true;
  say.textContent = "is being made …";
  try {
    await made(url, say);
    say.textContent = "";
    location.assign(url);
  } catch (error) { say.textContent = error.message; }
  button.disabled = false;
});

if (byId("known")) {
  const say = byId("sayknown");
  const path = `/v1/surveys/${byId("known").dataset.survey}/facts`;
  const keep = async (toml) => {
    say.textContent = "saving";
    try {
      await ask("PUT", path, { toml });
      const page = new DOMParser().parseFromString(await (await fetch(location.href, { cache: "no-store" })).text(), "text/html");
      byId("missing").textContent = page.getElementById("missing").textContent;
      if (byId("facebox") && page.getElementById("facebox")) byId("facebox").replaceChildren(...page.getElementById("facebox").childNodes);
      say.textContent = "saved";
    } catch (error) { say.textContent = `Not saved: ${error.message}`; }
  };
  byId("known").addEventListener("submit", (event) => { event.preventDefault(); keep(byId("toml").value); });
  byId("tomlfile").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    byId("toml").value = await file.text();
    event.target.value = "";
    keep(byId("toml").value);
  });
}
