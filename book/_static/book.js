// Opened from a folder, a page may not read its neighbours: search shows titles only.
if (location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

document.addEventListener("DOMContentLoaded", () => {
  // The theme's arrow that unfolds a part of the contents has no name.
  for (const arrow of document.querySelectorAll("nav summary")) {
    const title = arrow.closest("li").querySelector("a").textContent.trim();
    arrow.setAttribute("aria-label", `Pages of ${title}`);
  }
  // docutils puts entries of another role into its list of citations.
  for (const entry of document.querySelectorAll("[role=list] > [role=doc-biblioentry]")) {
    entry.setAttribute("role", "listitem");
  }
});

// A formula that is wider than the page scrolls; the keyboard has to reach it.
for (const event of ["load", "resize"]) {
  addEventListener(event, () => {
    window.MathJax?.startup?.promise?.then(() => {
      for (const formula of document.querySelectorAll("mjx-container[display=true]")) {
        if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      }
    });
  });
}
