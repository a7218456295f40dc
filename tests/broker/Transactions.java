import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Copies a topic inside transactions, as a program that is exactly-once does, with Kafka's own
 * client, which speaks the second version of transactions (KIP-890). Every third transaction is
 * aborted and done again; at the end a second producer takes over. Prints what happened.
 *
 * <p>Arguments: bootstrap address, source topic, target topic, number of records in the source.
 */
public class Transactions {
    static KafkaProducer<String, String> producer(String address, String id) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("transactional.id", id);
        settings.put("linger.ms", "1");
        KafkaProducer<String, String> producer =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    static KafkaConsumer<String, String> consumer(String address, String group) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("group.id", group);
        settings.put("group.instance.id", "static-1");
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("isolation.level", "read_committed");
        settings.put("max.poll.records", "7");
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    public static void main(String[] arguments) throws Exception {
        String address = arguments[0];
        String source = arguments[1];
        String target = arguments[2];
        int wanted = Integer.parseInt(arguments[3]);
        TopicPartition partition = new TopicPartition(source, 0);
        KafkaProducer<String, String> first = producer(address, target);
        int copied = 0;
        try (KafkaConsumer<String, String> reader = consumer(address, target)) {
            reader.subscribe(List.of(source));
            for (int number = 0; copied < wanted; ) {
                List<ConsumerRecord<String, String>> records =
                    reader.poll(Duration.ofSeconds(1)).records(partition);
                if (records.isEmpty()) {
                    continue;
                }
                number++;
                first.beginTransaction();
                for (ConsumerRecord<String, String> record : records) {
                    first.send(new ProducerRecord<>(target, record.value()));
                }
                long next = records.get(records.size() - 1).offset() + 1;
                first.sendOffsetsToTransaction(
                    Map.of(partition, new OffsetAndMetadata(next)), reader.groupMetadata());
                if (number % 3 == 0) {
                    first.abortTransaction();
                    reader.seek(partition, records.get(0).offset());
                } else {
                    first.commitTransaction();
                    copied += records.size();
                }
            }
            System.out.println("committed " + reader.committed(java.util.Set.of(partition)).get(partition).offset());
        }
        first.beginTransaction();
        first.send(new ProducerRecord<>(target, "zombie")).get();
        KafkaProducer<String, String> second = producer(address, target);
        try {
            first.commitTransaction();
            System.out.println("NOT FENCED");
        } catch (ProducerFencedException | InvalidProducerEpochException fenced) {
            System.out.println("fenced");
        }
        second.beginTransaction();
        second.send(new ProducerRecord<>(target, "last"));
        second.commitTransaction();
        // A transaction in which nothing was sent.
        second.beginTransaction();
        second.commitTransaction();
        second.beginTransaction();
        second.abortTransaction();
        second.close();
        try {
            first.close(Duration.ZERO);
        } catch (RuntimeException late) {
            // It was told that it is fenced.
        }
    }
}
