import { metrics, trace } from '@opentelemetry/api';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { MeterProvider } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, ConsoleSpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

/** Call this before the application starts. Serves the metrics at http://localhost:9464/metrics. */
export function startTelemetry({ port = 9464, printSpans = false } = {}): PrometheusExporter {
  const exporter = new PrometheusExporter({ port });
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [exporter] }));
  if (printSpans) {
    const spanProcessors = [new SimpleSpanProcessor(new ConsoleSpanExporter())];
    trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }));
  }
  return exporter;
}
