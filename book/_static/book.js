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
  // A line may break behind a formula, but not before the full stop that follows it.
  for (const formula of document.querySelectorAll("span.math")) {
    const next = formula.nextSibling;
    const mark = next?.nodeType === Node.TEXT_NODE && next.data.match(/^[^\s\w(]+/)?.[0];
    if (mark) {
      formula.append(mark);
      next.data = next.data.slice(mark.length);
    }
  }
});

// What is wider than the page scrolls; the keyboard has to reach it.
const SCROLLS = "mjx-container[display=true], .cell_output .text_html";
for (const event of ["load", "resize"]) {
  addEventListener(event, () => {
    window.MathJax?.startup?.promise?.then(() => {
      for (const box of document.querySelectorAll(SCROLLS)) {
        if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      }
    });
  });
}
