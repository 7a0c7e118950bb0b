// How the run was made, and what of it is in this page.
import { Table } from "./list.jsx";
import { Card, Copy, Text, number, short, useApp } from "./ui.jsx";

function Pairs({ rows }) {
  return <dl class="pairs">{rows.map(([name, value], i) => <div key={i}><dt><Text v={name || "value"} most={100} /></dt><dd><Text v={value} most={500} /></dd></div>)}</dl>;
}

export function About({ run }) {
  const { page } = useApp();
  const { recipe, task, guidance, versions } = run.parts;
  const held = run.episodes.update.length;
  return (
    <>
      <h1 tabIndex={-1}>How <Text v={run.label} most={80} /> was made</h1>
      <Card title="Command">
        {run.command ? <><pre class="command"><Text v={run.command} lines most={4000} /></pre><Copy text={() => run.command}>copy command</Copy></> : <p>The folder does not say with which command it was made.</p>}
      </Card>
      <div class="panels">
        {run.facts.length > 0 && <Card title="Facts"><Pairs rows={run.facts.slice(0, 60)} /></Card>}
        {versions.length > 0 && <Card title="Versions"><Pairs rows={versions} /></Card>}
        {recipe.length > 0 && <Card title="The recipe, part by part"><Pairs rows={recipe.slice(0, 120)} /></Card>}
        {task.length > 0 && <Card title="The task"><Pairs rows={task.slice(0, 120)} /></Card>}
        {guidance.length > 0 && <Card title="Guidance"><Pairs rows={guidance.slice(0, 60)} /></Card>}
        <Card title="What is in this page">
          <dl class="pairs">
            <div><dt>answers with tokens</dt><dd>{number(held)}</dd></div>
            <div><dt>groups</dt><dd>{number(run.groups.size.length)}{run.every_group ? ", those of every update" : ", those of recorded updates"}</dd></div>
            <div><dt>recorded updates</dt><dd>{run.chunks.map(([, update]) => update).slice(0, 100).join(", ") || "none"}</dd></div>
            <div><dt>left out</dt><dd><Text v={run.cut || "nothing"} /></dd></div>
            <div><dt>redacted</dt><dd>{page.redacted.join(", ") || "nothing; folders of paths are never shown"}</dd></div>
            <div><dt>made by</dt><dd>g2rpo-env {page.version}</dd></div>
          </dl>
        </Card>
      </div>
      {run.config.length > 0 && <Card title="Configuration"><Table columns={["option", "value"]} rows={run.config.map((row) => row.map((text) => short(text, 160)))} label="Configuration" /></Card>}
    </>
  );
}
