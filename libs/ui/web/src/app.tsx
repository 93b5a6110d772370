import { useEffect } from "preact/hooks";
import { ApiError, caller, config, isConfigured, loadConfig, reason, refusal, tenant, wasAsked } from "./api";
import { Credentials } from "./credentials";
import { density, nextDensity } from "./density";
import { Help, help } from "./help";
import { shortcuts } from "./keys";
import { lazy } from "./lazy";
import { rangeOf, tooLong } from "./range";
import { rangeParams } from "./range-select";
import { address, navigate, page, params } from "./router";
import { SearchPage } from "./search/page";
import { nextTheme, theme } from "./theme";
import { askEarly } from "./trace/opening";

// The page that is opened first need not wait for this code to run.
const first = page.peek();
const opened = first.name;
if (first.name === "trace") askEarly(first.id);
const TracePage = lazy(async () => (await import("./trace/page")).TracePage, opened === "trace");
const ComparePage = lazy(async () => (await import("./compare/page")).ComparePage, opened === "compare");
const PairPage = lazy(async () => (await import("./compare/pair")).PairPage, opened === "pair");
const ServicesPage = lazy(async () => (await import("./services/page")).ServicesPage, opened === "services");
const MapPage = lazy(async () => (await import("./map/page")).MapPage, opened === "map");
const ExplorePage = lazy(async () => (await import("./explore/page")).ExplorePage, opened === "explore");
const LivePage = lazy(async () => (await import("./live/page")).LivePage, opened === "live");
const StatusPage = lazy(async () => (await import("./status/page")).StatusPage, opened === "status");

const FilePage = lazy(async () => (await import("./file/page")).FilePage, opened === "file");

const PAGES = [
  { name: "search", title: "Search", key: "g s" },
  { name: "services", title: "Services", key: "g v" },
  { name: "map", title: "Map", key: "g m" },
  { name: "explore", title: "Explore", key: "g x" },
  { name: "live", title: "Live", key: "g l" },
  { name: "status", title: "Status", key: "g i" },
  { name: "file", title: "File", key: "g o" },
] as const;

const LIMITS = {
  search: "searchSeconds",
  services: "metricsSeconds",
  map: "metricsSeconds",
  explore: "metricsSeconds",
} as const;
type Ranged = keyof typeof LIMITS;

/** The address of a page: with the range of the one that is shown, where both have one and that is not too long there. */
function addressOf(name: (typeof PAGES)[number]["name"]): string {
  if (!(name in LIMITS && page.value.name in LIMITS)) return address(name);
  const limit = config.value?.limits[LIMITS[name as Ranged]] ?? 0;
  return address(name, tooLong(rangeOf(params.value), limit, "") === null ? rangeParams() : {});
}

function Header() {
  const shown = tenant.value || config.value?.tenants.join(", ");
  return (
    <header class="bar">
      <a class="brand" href={address("search")}>
        Tactus
      </a>
      <nav aria-label="Pages">
        {PAGES.map(({ name, title }) => (
          <a key={name} href={addressOf(name)} aria-current={page.value.name === name ? "page" : undefined}>
            {title}
          </a>
        ))}
      </nav>
      <span class="space" />
      {(wasAsked.value || (shown && shown !== "single-tenant")) && (
        <button type="button" onClick={() => (refusal.value = "")} title="Change tenant or token">
          {shown ? "tenant " : "sign in"}
          <bdi>{shown}</bdi>
        </button>
      )}
      <button type="button" onClick={nextTheme} title="Switch between light, dark and the system's theme">
        theme: {theme.value}
      </button>
      <button type="button" onClick={nextDensity} title="Switch between compact, normal and roomy rows">
        rows: {density.value}
      </button>
      <button type="button" onClick={() => (help.value = true)} aria-label="Keys">
        ?
      </button>
    </header>
  );
}

function Main() {
  const shown = page.value;
  if (shown.name === "search") return <SearchPage />;
  if (shown.name === "trace") return <TracePage key={shown.id} id={shown.id} />;
  if (shown.name === "compare") return <ComparePage key={`${shown.a}${shown.b}`} a={shown.a} b={shown.b} />;
  if (shown.name === "pair") return <PairPage />;
  if (shown.name === "services") return <ServicesPage />;
  if (shown.name === "map") return <MapPage />;
  if (shown.name === "explore") return <ExplorePage />;
  if (shown.name === "live") return <LivePage />;
  if (shown.name === "status") return <StatusPage />;
  if (shown.name === "file") return <FilePage />;
  return (
    <main>
      <h1>There is no such page</h1>
      <p>
        <a href={address("search")}>Search for traces</a>
      </p>
    </main>
  );
}

export function App() {
  useEffect(() => {
    loadConfig().catch((error) => {
      // Whoever does not say who asks knows why.
      const isRefused = error instanceof ApiError && error.status === 401;
      if (!isRefused) console.warn("the limits are not known:", reason(error));
    });
    return shortcuts({
      "?": () => {
        help.value = true;
      },
      ...Object.fromEntries(PAGES.map(({ name, key }) => [key, () => navigate(addressOf(name))])),
    });
  }, []);
  return (
    <>
      <Header />
      {isConfigured.value || page.value.name === "trace" ? (
        <Main key={caller.value} />
      ) : (
        <main>
          <p role="status">reading…</p>
        </main>
      )}
      {refusal.value !== null && <Credentials />}
      {help.value && <Help />}
    </>
  );
}
