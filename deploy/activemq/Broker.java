import org.apache.activemq.broker.BrokerService;

/** A small ActiveMQ that speaks STOMP on loopback: `Broker PORT` in memory, `Broker PORT FOLDER` with messages kept on disk. */
public class Broker {
  public static void main(String[] args) throws Exception {
    BrokerService broker = new BrokerService();
    broker.setUseJmx(false);
    broker.setPersistent(args.length > 1);
    if (args.length > 1) broker.setDataDirectory(args[1]);
    broker.addConnector("stomp://127.0.0.1:" + args[0]);
    broker.start();
    broker.waitUntilStopped();
  }
}
