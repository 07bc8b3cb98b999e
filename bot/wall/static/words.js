// Filters the page of words as one types, and puts near words into what is being typed.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);

  const find = byId("find-words");
  const counted = byId("ticked");
  const count = () => {
    const ticked = document.querySelectorAll("#lexicon [name=with]:checked").length;
    if (counted) counted.textContent = ticked ? `${ticked} ticked.` : "";
  };
  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    let any = false;
    for (const section of document.querySelectorAll("#lexicon section")) {
      const whole = section.querySelector("h2").textContent.toLowerCase().includes(wanted);
      let shown = false;
      for (const entry of section.querySelectorAll("li")) {
        const there = whole || entry.textContent.toLowerCase().includes(wanted)
          || entry.querySelector("input").checked;
        entry.hidden = !there;
        shown ||= there;
      }
      section.hidden = !shown;
      any ||= shown;
    }
    byId("no-words").hidden = any;
  };
  if (find) {
    find.addEventListener("input", filter);
    find.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
    byId("lexicon").addEventListener("change", count);
    filter();
    count();
  }

  // What is typed goes along to the page of words.
  byId("to-words")?.addEventListener("click", (event) => {
    const address = new URL(event.currentTarget.href);
    address.searchParams.set("prompt", byId("prompt").value);
    event.currentTarget.href = address;
  });

  document.body.addEventListener("click", (event) => {
    const word = event.target.closest("[data-add]")?.dataset.add;
    if (!word) return;
    const field = byId("prompt") ?? byId("words");
    const before = field.value.trim().replace(/,$/, "");
    field.value = field.id === "prompt" && before ? `${before}, ${word}` : word;
    event.target.closest("[data-add]").remove();
    field.focus();
  });
})();
