import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * The workloads of bench/pipeline.py as a user of Kafka Streams would write them, with Jackson on
 * types of their own, which costs it less than trees do.
 *
 * <p>Arguments: workload, bootstrap address, source topic, target topic, state folder, number of
 * records. Ends when it has read that many and all that comes of them is written, and says its
 * peak of memory.
 */
public class Pipeline {
    record Purchase(
        long id, String user, double amount, long quantity, String country, String kind, String note) {}

    record Priced(
        long id, String user, double amount, long quantity, String country, String kind, String note,
        double total) {}

    /** What the window needs of a purchase: the rest is skipped, not made into objects. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    record Amount(double amount) {}

    record Result(long start, long end, double total) {}

    private static final ObjectMapper MAPPER = new ObjectMapper();

    static <T> Serde<T> json(Class<T> type) {
        ObjectReader reader = MAPPER.readerFor(type);
        ObjectWriter writer = MAPPER.writerFor(type);
        return Serdes.serdeFrom(
            (topic, value) -> {
                try {
                    return writer.writeValueAsBytes(value);
                } catch (JsonProcessingException broken) {
                    throw new UncheckedIOException(broken);
                }
            },
            (topic, bytes) -> {
                try {
                    return reader.readValue(bytes);
                } catch (IOException broken) {
                    throw new UncheckedIOException(broken);
                }
            });
    }

    /** Filter, a computed field, output. */
    static KStream<Bytes, Priced> expressions(KStream<Bytes, Purchase> purchases) {
        return purchases
            .filter((key, bought) -> bought.amount() > 10)
            .mapValues(bought -> new Priced(
                bought.id(), bought.user(), bought.amount(), bought.quantity(), bought.country(),
                bought.kind(), bought.note(), bought.amount() * bought.quantity()));
    }

    /**
     * A tumbling sum per key, final results, with its changelog topic. Suppression over a cached
     * store takes half the time of {@code EmitStrategy.onWindowClose()}, which goes without the cache.
     */
    static KStream<Bytes, Result> window(KStream<Bytes, Amount> amounts) {
        return amounts
            .groupByKey(Grouped.with(Serdes.Bytes(), json(Amount.class)))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(1)))
            .aggregate(
                () -> 0.0, (key, bought, sum) -> sum + bought.amount(),
                Materialized.with(Serdes.Bytes(), Serdes.Double()))
            .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))
            .toStream((window, sum) -> window)
            .map((window, sum) -> KeyValue.pair(
                window.key(), new Result(window.window().start(), window.window().end(), sum)));
    }

    public static void main(String[] arguments) throws Exception {
        String source = arguments[2], target = arguments[3];
        long records = Long.parseLong(arguments[5]);
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, source + "-" + UUID.randomUUID());
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        settings.put("auto.offset.reset", "earliest");
        // What its documentation names for throughput: larger polls, fetches, buffers and batches.
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), 10_000);
        settings.put(StreamsConfig.consumerPrefix("max.partition.fetch.bytes"), 8 << 20);
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        settings.put(StreamsConfig.producerPrefix("batch.size"), 256 << 10);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 << 20);

        StreamsBuilder builder = new StreamsBuilder();
        CountDownLatch read = new CountDownLatch(1);
        long[] seen = {0};
        Runnable count = () -> {
            if (++seen[0] == records) {
                read.countDown();
            }
        };
        if (arguments[0].equals("expressions")) {
            expressions(builder.stream(source, Consumed.with(Serdes.Bytes(), json(Purchase.class)))
                    .peek((key, bought) -> count.run()))
                .to(target, Produced.with(Serdes.Bytes(), json(Priced.class)));
        } else {
            window(builder.stream(source, Consumed.with(Serdes.Bytes(), json(Amount.class)))
                    .peek((key, bought) -> count.run()))
                .to(target, Produced.with(Serdes.Bytes(), json(Result.class)));
        }
        KafkaStreams streams = new KafkaStreams(builder.build(settings), settings);
        streams.setUncaughtExceptionHandler(broken -> {
            broken.printStackTrace();
            Runtime.getRuntime().halt(1);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        read.await();
        // Commits, which writes out what is cached: the last windows that have closed.
        streams.close(Duration.ofSeconds(60));
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                double kilobytes = Double.parseDouble(line.replaceAll("\\D", ""));
                System.out.println("{\"peak_mb\": " + kilobytes / 1024 + "}");
            }
        }
    }
}
