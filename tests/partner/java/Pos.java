import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorSet;
import com.google.protobuf.Descriptors;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/**
 * A till: reports sales at one shop, and redeems the vouchers that they earned at another. The messages are read from
 * the protos' descriptors (first argument), so that it needs no generated code; an app would have protoc generate its
 * own.
 */
public final class Pos {
    private static final String PACKAGE = "hutong.merchant.v1";
    private static final long PAID_MINOR = 3_800;
    private static final int ATTEMPTS_MAX = 6;

    private static final Map<String, FileDescriptor> FILES = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        readDescriptors(arguments[0]);
        ManagedChannel[] channels = {channel("HUTONG_GIVER"), channel("HUTONG_REDEEMER")};
        Channel giver = withToken(channels[0], "HUTONG_GIVER_TOKEN");
        Channel redeemer = withToken(channels[1], "HUTONG_REDEEMER_TOKEN");
        int sales = Integer.parseInt(System.getenv("HUTONG_SALES"));
        int earned = 0;
        int redeemed = 0;
        int refused = 0;
        for (int sale = 0; sale < sales; sale++) {
            DynamicMessage request = message("sale_service", "ReportSaleRequest", Map.of("request_id", id(), "amount", paid()));
            DynamicMessage answer = call(giver, "sale_service", "SaleService", "ReportSale", request);
            if (!answer.equals(call(giver, "sale_service", "SaleService", "ReportSale", request))) {
                throw new AssertionError("one request, one answer");
            }
            for (Object voucher : (List<?>) value(answer, "vouchers")) {
                earned++;
                Object code = value((Message) voucher, "qr_text");
                redeem(redeemer, code);
                redeemed++;
                try {
                    redeem(redeemer, code);
                    throw new AssertionError("used twice");
                } catch (StatusRuntimeException error) {
                    refused += error.getStatus().getCode() == Status.Code.FAILED_PRECONDITION && told(error) ? 1 : 0;
                }
            }
        }
        System.out.printf(
            "{\"example\": \"java/pos\", \"sales\": %d, \"earned\": %d, \"redeemed\": %d, \"refused\": %d}%n",
            sales, earned, redeemed, refused);
        for (ManagedChannel channel : channels) {
            channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
        }
    }

    /** Whether the stable reason is among the details of a refusal. */
    private static boolean told(StatusRuntimeException error) {
        byte[] details =
            error.getTrailers().get(Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER));
        return details != null
            && new String(details, StandardCharsets.ISO_8859_1).contains("VOUCHER_ALREADY_REDEEMED");
    }

    private static void redeem(Channel channel, Object code) throws Exception {
        Map<String, Object> fields = Map.of("request_id", id(), "code", code, "purchase", paid());
        DynamicMessage request = message("voucher_service", "RedeemVoucherRequest", fields);
        call(channel, "voucher_service", "VoucherService", "RedeemVoucher", request);
    }

    private static String id() {
        return UUID.randomUUID().toString().replace("-", "");
    }

    private static DynamicMessage paid() {
        return message("common", "Money", Map.of("minor", PAID_MINOR));
    }

    private static ManagedChannel channel(String variable) {
        String address = System.getenv(variable).replace("http://", "");
        return NettyChannelBuilder.forTarget(address).usePlaintext().build();
    }

    private static Channel withToken(Channel channel, String variable) {
        Metadata headers = new Metadata();
        Metadata.Key<String> key = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
        headers.put(key, "Bearer " + System.getenv(variable));
        return ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers));
    }

    /** Makes a call, and makes it again under the same request id while the node is away or asks to wait. */
    private static DynamicMessage call(
        Channel channel, String file, String service, String call, DynamicMessage request) throws Exception {
        Descriptors.MethodDescriptor known = file(file).findServiceByName(service).findMethodByName(call);
        MethodDescriptor<DynamicMessage, DynamicMessage> method =
            MethodDescriptor.<DynamicMessage, DynamicMessage>newBuilder()
                .setType(MethodDescriptor.MethodType.UNARY)
                .setFullMethodName(PACKAGE + "." + service + "/" + call)
                .setRequestMarshaller(ProtoUtils.marshaller(DynamicMessage.getDefaultInstance(known.getInputType())))
                .setResponseMarshaller(ProtoUtils.marshaller(DynamicMessage.getDefaultInstance(known.getOutputType())))
                .build();
        for (int attempt = 1; ; attempt++) {
            try {
                CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(15, TimeUnit.SECONDS);
                return ClientCalls.blockingUnaryCall(channel, method, options, request);
            } catch (StatusRuntimeException error) {
                Status.Code code = error.getStatus().getCode();
                boolean again = code == Status.Code.UNAVAILABLE || code == Status.Code.RESOURCE_EXHAUSTED;
                if (!again || attempt == ATTEMPTS_MAX) {
                    throw error;
                }
                Thread.sleep(Math.min(2_000, 100L << attempt));
            }
        }
    }

    private static DynamicMessage message(String file, String name, Map<String, Object> fields) {
        Descriptor descriptor = file(file).findMessageTypeByName(name);
        DynamicMessage.Builder builder = DynamicMessage.newBuilder(descriptor);
        fields.forEach((field, value) -> builder.setField(descriptor.findFieldByName(field), value));
        return builder.build();
    }

    private static Object value(Message message, String field) {
        FieldDescriptor descriptor = message.getDescriptorForType().findFieldByName(field);
        return message.getField(descriptor);
    }

    private static FileDescriptor file(String name) {
        return FILES.get("hutong/merchant/v1/" + name + ".proto");
    }

    private static void readDescriptors(String path) throws Exception {
        try (FileInputStream stream = new FileInputStream(path)) {
            FileDescriptorSet set = FileDescriptorSet.parseFrom(stream);
            Map<String, FileDescriptorProto> protos = new HashMap<>();
            set.getFileList().forEach(proto -> protos.put(proto.getName(), proto));
            for (String name : protos.keySet()) {
                build(name, protos);
            }
        }
    }

    private static FileDescriptor build(String name, Map<String, FileDescriptorProto> protos) throws Exception {
        if (!FILES.containsKey(name)) {
            FileDescriptorProto proto = protos.get(name);
            FileDescriptor[] needed = new FileDescriptor[proto.getDependencyCount()];
            for (int at = 0; at < needed.length; at++) {
                needed[at] = build(proto.getDependency(at), protos);
            }
            FILES.put(name, FileDescriptor.buildFrom(proto, needed));
        }
        return FILES.get(name);
    }

    private Pos() {}
}
