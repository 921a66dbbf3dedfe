// @ts-check
// Sets the colours before the first paint, and again when the system or the choice changes.
// Loaded as a plain script, on purpose: a module would come too late.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let chosen = "system";
    try {
      chosen = JSON.parse(localStorage.getItem("modelswap.theme") || '"system"');
    } catch {
      // Storage is switched off: the system's colours it is.
    }
    document.documentElement.toggleAttribute("data-dark", chosen === "dark" || (chosen !== "light" && system.matches));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("modelswap-theme", apply);
})();
