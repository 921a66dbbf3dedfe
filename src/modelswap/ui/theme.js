// @ts-check
// Sets the chosen colours before the first paint. Loaded as a plain script, on purpose.
(() => {
  try {
    const chosen = JSON.parse(localStorage.getItem("modelswap.theme") || '"system"');
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage is switched off: the system's colours it is.
  }
})();
